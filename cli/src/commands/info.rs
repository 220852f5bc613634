//! `vkube info`: the order that the secret opens.

use super::{Context, orders};
use crate::credentials::Caller;
use crate::error::Error;

pub(crate) async fn run(context: &mut Context<'_>) -> Result<(), Error> {
    let call = context.client.get(Caller::Owner, &["k8s", "userService"])?;
    let answer = context.client.send(&call).await?;
    context.show(&answer, orders::print)
}
