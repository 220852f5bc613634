//! What goes to an api's inbox: progress of a job, the answer of a read in parts.

use async_nats::{HeaderMap, Message as CoreMessage, Subject};
use bytes::Bytes;
use common::job::Progress;
use common::read::{AnswerKind, MAX_PART_BYTES};
use common::subject::{HEADER_ANSWER, HEADER_PART, HEADER_PARTS, HEADER_REPLY};

use super::Broker;

/// The inbox that a message names. Anything that is no inbox of an api is not written to.
pub(super) fn inbox(message: &CoreMessage) -> Option<Subject> {
    let named = message.headers.as_ref()?.get(HEADER_REPLY)?.as_str();
    let plain = named.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let inbox = named.starts_with("_INBOX.") && plain && !named.contains("..") && !named.ends_with('.');
    inbox.then(|| Subject::from(named))
}

/// Tells whoever waits for a job. May be lost: nothing depends on it.
pub(super) async fn tell(broker: &Broker, inbox: Option<&Subject>, progress: &Progress) {
    let (Some(inbox), Ok(body)) = (inbox, serde_json::to_vec(progress)) else { return };
    if let Err(error) = broker.client.publish(inbox.clone(), body.into()).await {
        tracing::debug!(error = %error, "progress is not told");
    }
}

/// Sends the answer of a read, cut into as many parts as it needs.
pub(super) async fn send(broker: &Broker, inbox: &Subject, kind: AnswerKind, body: Bytes) {
    for (headers, part) in parts(kind, &body) {
        if let Err(error) = broker.client.publish_with_headers(inbox.clone(), headers, part).await {
            tracing::warn!(error = %error, "answer is not sent");
            return;
        }
    }
}

fn parts(kind: AnswerKind, body: &Bytes) -> Vec<(HeaderMap, Bytes)> {
    let count = body.len().div_ceil(MAX_PART_BYTES).max(1);
    let part = |number: usize| {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER_ANSWER, kind.as_str());
        headers.insert(HEADER_PART, number.to_string());
        headers.insert(HEADER_PARTS, count.to_string());
        let first = number * MAX_PART_BYTES;
        (headers, body.slice(first..body.len().min(first + MAX_PART_BYTES)))
    };
    (0..count).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_cut_into_parts_that_make_it_whole() {
        for (case, length, count) in [
            ("empty", 0, 1),
            ("short", 5, 1),
            ("exactly one", MAX_PART_BYTES, 1),
            ("one byte more", MAX_PART_BYTES + 1, 2),
            ("a whole log", 2 * MAX_PART_BYTES, 2),
        ] {
            let body = Bytes::from(vec![b'x'; length]);
            let parts = parts(AnswerKind::Ok, &body);
            assert_eq!(parts.len(), count, "{case}");
            assert_eq!(parts.iter().map(|(_, part)| part.len()).sum::<usize>(), length, "{case}");
            let last = &parts[count - 1].0;
            assert_eq!(last.get(HEADER_PART).unwrap().as_str(), (count - 1).to_string(), "{case}");
            assert_eq!(last.get(HEADER_PARTS).unwrap().as_str(), count.to_string(), "{case}");
        }
    }

    #[test]
    fn only_inboxes_of_an_api_are_written_to() {
        for (reply, valid) in [
            ("_INBOX.api-0123456789abcdef.01890a5d-ac96-774b-bcce-b302099a8057", true),
            ("vkube.results.ausrine.01890a5d-ac96-774b-bcce-b302099a8057", false),
            ("$JS.API.STREAM.DELETE.RESULTS", false),
            ("_INBOX.*", false),
            ("_INBOX.", false),
            ("_INBOX.a..b", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER_REPLY, reply);
            let message = CoreMessage {
                subject: "vkube.reads.ausrine.log".into(),
                reply: None,
                payload: Bytes::new(),
                headers: Some(headers),
                status: None,
                description: None,
                length: 0,
            };
            assert_eq!(inbox(&message).is_some(), valid, "{reply}");
        }
    }
}
