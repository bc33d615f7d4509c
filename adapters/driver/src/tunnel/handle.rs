//! What keeps a tunnel from being drained.

use std::sync::Arc;
use std::time::Duration;

use crate::tunnel::shared::Shared;
use crate::tunnel::state::TunnelRole;

/// What the clones of a handle share. The tunnel is drained when it is dropped, and open calls may
/// take their time.
#[derive(Debug)]
pub(crate) struct Handle<R: TunnelRole> {
    pub(crate) shared: Arc<Shared<R>>,
}

impl<R: TunnelRole> Drop for Handle<R> {
    fn drop(&mut self) {
        self.shared.drain(Duration::MAX);
    }
}
