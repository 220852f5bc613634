//! `vkube restart`, `stop` and `start`.

use clap::Args;
use serde_json::json;

use super::Context;
use super::change::Changing;
use super::jobs;
use crate::credentials::Caller;
use crate::error::Error;

/// A change that needs no more than its name.
#[derive(Debug, Args)]
pub(crate) struct Change {
    #[command(flatten)]
    changing: Changing,
}

impl Change {
    pub(crate) async fn run(self, verb: &str, context: &mut Context<'_>) -> Result<(), Error> {
        let call = context.client.post(Caller::Owner, &["k8s", "pod", verb], &json!({}))?;
        let answer = self.changing.send(call, context).await?;
        if jobs::is_accepted(&answer) {
            context.show(&answer, jobs::print)?;
            return jobs::ended(&answer.value);
        }
        context.show(&answer, |_, out| writeln!(out, "{verb}: done"))
    }
}
