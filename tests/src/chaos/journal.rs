//! The journal of a run: what was asked, before it was sent, what was answered, and what was done to the system. JSON lines,
//! kept for whoever looks for a cause.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was written.
    pub at: Timestamp,
    /// What it says.
    pub what: Event,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// An operation is about to be sent.
    Begun(Begun),
    /// It was answered.
    Answered(Answered),
    /// Nobody knows what became of it.
    Unknown {
        /// Which operation.
        operation: u64,
        /// Why.
        problem: String,
    },
    /// A fault was injected.
    Injected {
        /// Its name.
        fault: String,
        /// To what it was done.
        what: String,
        /// How often: to how many processes, say.
        times: usize,
        /// Whether it is a change by hand of an order's objects.
        is_by_hand: bool,
    },
    /// A fault could not be injected, as there was nothing to do it to.
    Skipped {
        /// Its name.
        fault: String,
        /// Why.
        problem: String,
    },
    /// A fault was healed.
    Healed {
        /// Its name.
        fault: String,
    },
    /// The system worked again after these faults, or did not in time.
    Recovered {
        /// Their names.
        faults: Vec<String>,
        /// How long it took once all were healed.
        milliseconds: Option<u64>,
    },
}

/// An operation that is about to be sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    /// Its number.
    pub operation: u64,
    /// Whose order.
    pub order: String,
    /// Which api instance is asked.
    pub api: usize,
    /// Method and path.
    pub call: String,
    /// The idempotency key.
    pub key: Option<String>,
    /// The body.
    pub body: Value,
}

/// An operation's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// Which operation.
    pub operation: u64,
    /// The HTTP status.
    pub status: u16,
    /// The job that it names.
    pub job: Option<String>,
    /// Why it was refused.
    pub reason: Option<String>,
    /// What is wrong with the answer's form (`wire.md` §2).
    pub malformed: Option<String>,
    /// How long it took.
    pub milliseconds: u64,
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Mutex<File>,
    operations: AtomicU64,
}

impl Journal {
    /// Begins a new one.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file: Mutex::new(file), operations: AtomicU64::new(0) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of the next operation.
    pub fn next_operation(&self) -> u64 {
        self.operations.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a line; when this returns, it has been written.
    pub fn add(&self, what: Event) -> Result<()> {
        let mut line = serde_json::to_vec(&Entry { at: Timestamp::now(), what })?;
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&line).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// All lines of a journal.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    BufReader::new(file).lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_read_back_while_the_journal_goes_on() {
        let path = std::env::temp_dir().join(format!("vkube-journal-{}.jsonl", std::process::id()));
        let journal = Journal::create(&path).unwrap();
        let begun = Begun {
            operation: journal.next_operation(),
            order: "a".to_owned(),
            api: 1,
            call: "POST /k8s/deploy".to_owned(),
            key: Some("once".to_owned()),
            body: serde_json::json!({ "containers": [] }),
        };
        let answered =
            Answered { operation: 0, status: 202, job: None, reason: None, malformed: None, milliseconds: 12 };
        let unknown = Event::Unknown { operation: 1, problem: "reset\nby peer".to_owned() };
        let events = [Event::Begun(begun), Event::Answered(answered), unknown];
        for (number, event) in events.iter().enumerate() {
            journal.add(event.clone()).unwrap();
            assert_eq!(read(&path).unwrap().len(), number + 1);
        }
        let read: Vec<Event> = read(&path).unwrap().into_iter().map(|entry| entry.what).collect();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read, events);
    }
}
