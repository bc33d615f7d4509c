//! What an end holds, after every step.

use grpctunnel_core::Role;
use grpctunnel_core::wire::Revision;

use super::super::store::Store;
use super::Run;

impl<R: Role, S: Store> Run<R, S> {
    /// What is held is within the published bound.
    pub(super) fn check_memory(&mut self) {
        self.check_growth();
        let tunnel = &self.end.tunnel;
        let bound = tunnel.limits().memory_bound();
        let held = tunnel.memory() as u64;
        assert!(held <= bound.core(), "{held} bytes in the core: {bound:?}");
        if tunnel.memory() == 0 {
            // In place, or nothing yet: the receive buffers have the size that they have.
            return;
        }
        let grown = |bytes: u64| bytes.saturating_mul(17).div_ceil(4);
        let growth = grown(tunnel.receive_growth());
        assert!(growth <= bound.growth, "{growth} grown: {bound:?}");
        let open = self.end.calls().filter(|call| !self.end.released(*call));
        let (mut streams, mut all, mut most) = (0, held, bound.core() + growth);
        for call in open {
            let buffer = self.end.buffer_memory(call) as u64;
            let key = self.end.key(call);
            let (least, shared) = match tunnel.inspect(key).map(|it| it.revision()) {
                Some(Revision::Zero) => (bound.revision_zero, 0),
                Some(Revision::One) | None => (bound.flow_controlled, growth),
            };
            assert!(
                buffer <= least + shared,
                "call {call} holds {buffer}, {growth} grown: {bound:?}"
            );
            assert!(buffer <= bound.one_receive());
            streams += 1;
            all += buffer;
            most += least;
        }
        assert!(streams <= bound.streams, "{streams} calls: {bound:?}");
        assert!(all <= most, "{all} of {most} bytes: {bound:?}");
        assert!(all <= bound.total(), "{all} bytes: {bound:?}");
    }

    /// No window is larger than it may be, and all together have grown by what is in use of the
    /// budget; what an ended call left unread may hold more of it.
    fn check_growth(&mut self) {
        let tunnel = &self.end.tunnel;
        let (policy, in_use) = (tunnel.limits().receive_window, tunnel.receive_growth());
        let calls = self.end.calls();
        let sizes = calls.filter_map(|call| tunnel.inspect(self.end.key(call))?.receive_window());
        let mut grown = 0;
        for size in sizes {
            assert!(size >= policy.initial, "a window of {size}: {policy:?}");
            assert!(
                size <= policy.max.max(policy.initial),
                "a window of {size}: {policy:?}"
            );
            grown += u64::from(size - policy.initial);
        }
        assert!(
            grown <= in_use,
            "grown by {grown}, {in_use} of the budget in use"
        );
        assert!(in_use <= policy.growth_budget, "{in_use}: {policy:?}");
        self.grown = self.grown.max(grown);
    }
}
