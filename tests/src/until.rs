//! Waiting for a condition: the only place of the tests where time passes by itself.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

const ASK_EVERY: Duration = Duration::from_millis(50);

/// Asks until the answer is `Some`, and fails when that takes longer than `within` or when asking fails.
pub async fn until<T>(what: &str, within: Duration, mut ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        let left = within.saturating_sub(begun.elapsed());
        match tokio::time::timeout(left, ask()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            // An answer that is there at once is in time even when none is left.
            Ok(Ok(None)) if !left.is_zero() => tokio::time::sleep(ASK_EVERY.min(left)).await,
            Ok(Err(error)) => return Err(error).with_context(|| format!("while waiting until {what}")),
            Ok(Ok(None)) | Err(_) => bail!("not within {within:?}: {what}"),
        }
    }
}

/// Makes sure that something does not come to be: asks for the whole time, and fails as soon as the answer is `Some`.
pub async fn never<T: std::fmt::Debug>(
    what: &str,
    during: Duration,
    mut ask: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < during {
        if let Some(value) = ask().await? {
            bail!("after {:?}: {what}: {value:?}", begun.elapsed());
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    Ok(())
}
