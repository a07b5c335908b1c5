//! Changes that go on though the client that asked for them has gone: what is committed must have its effect in
//! memory as well.

use super::problem::ApiError;

/// Runs to completion, even if the caller is dropped meanwhile.
///
/// # Errors
/// Those of `change`; or it panicked.
pub(super) async fn detached<T, E>(
    change: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, ApiError>
where
    T: Send + 'static,
    E: Into<ApiError> + Send + 'static,
{
    match tokio::spawn(change).await {
        Ok(done) => done.map_err(Into::into),
        Err(error) => Err(ApiError::internal(error.to_string())),
    }
}
