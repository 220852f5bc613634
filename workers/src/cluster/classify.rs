//! From an apiserver's answer to what follows from it. Retry or refused is decided here and nowhere else.

use common::failure::Reason;

/// What an unsuccessful answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// The same call may work later.
    Retry,
    /// There is no such object.
    Missing,
    /// There is one already.
    Exists,
    /// The object is not as it was when it was read.
    Changed,
    /// It will never work.
    Refused(Reason),
}

/// What follows from an answer with this status code, reason and message (Kubernetes, "API concepts").
pub fn disposition(code: u16, reason: &str, message: &str) -> Disposition {
    match (code, reason) {
        (404, _) => Disposition::Missing,
        (409, "AlreadyExists") => Disposition::Exists,
        (409, _) => Disposition::Changed,
        (403, _) => forbidden(message),
        (400 | 405 | 406 | 413 | 415 | 422, _) => Disposition::Refused(Reason::Refused),
        // 401: a credential that is being renewed. 410: a list that has to begin again. 429 and 5xx: busy or away.
        _ => Disposition::Retry,
    }
}

/// Forbidden is said of four things; only two of them are the customer's.
fn forbidden(message: &str) -> Disposition {
    if message.contains("exceeded quota") {
        Disposition::Refused(Reason::QuotaExceeded)
    } else if message.contains("because it is being terminated") || message.contains("status unknown for quota") {
        Disposition::Retry
    } else if message.contains("denied request")
        || message.contains("denied the request")
        || message.contains("violates PodSecurity")
        || is_limit(message)
    {
        Disposition::Refused(Reason::Refused)
    } else {
        // A right that this worker lacks: the operator's to give, while the job waits.
        Disposition::Retry
    }
}

/// A `LimitRange` speaks of amounts "per Container" or "per Pod".
fn is_limit(message: &str) -> bool {
    message.contains(" per Container is ") || message.contains(" per Pod is ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apiserver_answers_are_classified() {
        for (case, code, reason, message, expected) in [
            ("no such object", 404, "NotFound", "", Disposition::Missing),
            ("name taken", 409, "AlreadyExists", "", Disposition::Exists),
            ("object changed under us", 409, "Conflict", "", Disposition::Changed),
            ("fails validation", 422, "Invalid", "", Disposition::Refused(Reason::Refused)),
            ("malformed", 400, "BadRequest", "", Disposition::Refused(Reason::Refused)),
            ("too large", 413, "RequestEntityTooLarge", "", Disposition::Refused(Reason::Refused)),
            ("credential expired", 401, "Unauthorized", "", Disposition::Retry),
            ("list expired", 410, "Expired", "", Disposition::Retry),
            ("too many requests", 429, "TooManyRequests", "", Disposition::Retry),
            ("internal error", 500, "InternalError", "", Disposition::Retry),
            ("proxy without apiserver", 502, "Failed to parse error data", "<html>", Disposition::Retry),
            ("apiserver restarting", 503, "ServiceUnavailable", "", Disposition::Retry),
            ("apiserver slow", 504, "Timeout", "", Disposition::Retry),
            (
                "over quota",
                403,
                "Forbidden",
                "pods \"a-1\" is forbidden: exceeded quota: pod, requested: limits.memory=2Gi, used: 0, limited: 1Gi",
                Disposition::Refused(Reason::QuotaExceeded),
            ),
            (
                "quota not counted yet",
                403,
                "Forbidden",
                "pods \"a-1\" is forbidden: status unknown for quota: pod, resources: pods",
                Disposition::Retry,
            ),
            (
                "namespace going",
                403,
                "Forbidden",
                "secrets \"env-r1\" is forbidden: unable to create new content in namespace vkube-a because it is being terminated",
                Disposition::Retry,
            ),
            (
                "admission policy",
                403,
                "Forbidden",
                "pods \"a-1\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
                Disposition::Refused(Reason::Refused),
            ),
            (
                "admission webhook",
                403,
                "Forbidden",
                "admission webhook \"validation.example.com\" denied the request: no",
                Disposition::Refused(Reason::Refused),
            ),
            (
                "limit range",
                403,
                "Forbidden",
                "pods \"a-1\" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi",
                Disposition::Refused(Reason::Refused),
            ),
            (
                "right missing",
                403,
                "Forbidden",
                "leases is forbidden: User \"worker\" cannot create resource \"leases\"",
                Disposition::Retry,
            ),
        ] {
            assert_eq!(disposition(code, reason, message), expected, "{case}");
        }
    }
}
