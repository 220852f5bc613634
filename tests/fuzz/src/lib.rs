//! What must hold whatever bytes strangers send, one module a kind of bytes, each with a function `holds` that panics where it
//! does not. `dev/fuzz` looks for such bytes; what it found on its way is in `corpus/`, which a test tries again each time.

pub mod change_body;
pub mod deploy_body;
pub mod image_reference;
pub mod log_lines;
pub mod message;
pub mod nats_request;
pub mod parameters;
pub mod registry_answer;

mod region;

/// What must hold of some bytes, by the name of the target that looks for others.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 8] = [
    ("change_body", change_body::holds),
    ("deploy_body", deploy_body::holds),
    ("image_reference", image_reference::holds),
    ("log_lines", log_lines::holds),
    ("message", message::holds),
    ("nats_request", nats_request::holds),
    ("parameters", parameters::holds),
    ("registry_answer", registry_answer::holds),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::TARGETS;

    #[test]
    fn what_must_hold_holds_for_every_input_of_the_corpora() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        let mut names: Vec<String> = std::fs::read_dir(&corpora)
            .unwrap()
            .map(|folder| folder.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        assert_eq!(names, TARGETS.map(|(name, _)| name), "a corpus for each target");
        for (name, holds) in TARGETS {
            let mut tried = 0;
            for file in std::fs::read_dir(corpora.join(name)).unwrap() {
                let bytes = std::fs::read(file.unwrap().path()).unwrap();
                // Cut short it is another input.
                (0..=8).for_each(|eighths| holds(&bytes[..bytes.len() * eighths / 8]));
                tried += 1;
            }
            assert!(tried >= 3, "{name} has {tried} inputs");
        }
    }
}
