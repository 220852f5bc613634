//! Whether the process lives, and whether it can serve.

use common::failure::Reason;
use poem::http::StatusCode;
use poem::web::{Data, Json};
use poem::{IntoResponse as _, Response, handler};
use serde_json::json;

use super::error::raise;
use crate::app::App;
use crate::app::error::AppError;

/// The process lives.
#[handler]
pub(super) fn healthz() -> Response {
    Json(json!({"status": "ok"})).with_status(StatusCode::OK).into_response()
}

/// The process can serve; else what is missing.
#[handler]
pub(super) async fn readyz(Data(app): Data<&App>) -> poem::Result<Response> {
    let missing = app.not_ready().await;
    if missing.is_empty() {
        return Ok(Json(json!({"status": "ready"})).into_response());
    }
    Err(raise(AppError::new(Reason::Overloaded, format!("not ready: {}", missing.join("; ")))))
}
