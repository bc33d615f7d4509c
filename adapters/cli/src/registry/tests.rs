use tokio_test::{assert_pending, assert_ready, task::spawn};

use super::*;

/// A caller who may call everybody.
fn any(_: &Name) -> bool {
    true
}

#[derive(Clone, Debug)]
struct Fake(&'static str, Arc<AtomicBool>, Arc<AtomicBool>);

impl Link for Fake {
    fn takes_calls(&self) -> bool {
        self.1.load(Ordering::Relaxed)
    }

    fn has_room(&self) -> bool {
        self.2.load(Ordering::Relaxed)
    }
}

fn peer() -> Endpoint {
    Endpoint::Unix("test".into())
}

fn fake(label: &'static str) -> Fake {
    let yes = || Arc::new(AtomicBool::new(true));
    Fake(label, yes(), yes())
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn join(registry: &Registry<Fake>, as_name: &str, link: Fake) -> Membership<Fake> {
    registry.arriving(name(as_name)).register(link, peer()).0
}

fn chosen(registry: &Registry<Fake>, target: Option<&str>) -> Result<&'static str, String> {
    let target = target.map(name);
    let mut choice = spawn(registry.choose(target.as_ref(), &[], &any));
    let result = assert_ready!(choice.poll());
    result
        .map(|chosen| chosen.link.0)
        .map_err(|refusal| refusal.to_string())
}

#[test]
fn a_target_is_found_by_its_name() {
    let registry = Registry::new();
    let _a = join(&registry, "a", fake("1"));
    let _b = join(&registry, "b", fake("2"));
    assert_eq!(chosen(&registry, Some("b")), Ok("2"));
    let refusal = chosen(&registry, Some("c")).unwrap_err();
    assert_eq!(refusal, "agent c is not connected");
}

#[test]
fn without_a_target_the_only_agent_is_meant() {
    let registry = Registry::new();
    assert_eq!(
        chosen(&registry, None).unwrap_err(),
        "no agent is connected"
    );
    let _a = join(&registry, "a", fake("1"));
    assert_eq!(chosen(&registry, None), Ok("1"));
    let b = join(&registry, "b", fake("2"));
    let refusal = chosen(&registry, None).unwrap_err();
    assert!(refusal.ends_with("x-tunnel-target"), "{refusal}");
    drop(b);
    assert_eq!(chosen(&registry, None), Ok("1"));
}

#[test]
fn tunnels_of_one_name_take_turns_and_the_unusable_are_passed_over() {
    let registry = Registry::new();
    let links = ["1", "2", "3"].map(fake);
    let _members = links.clone().map(|link| join(&registry, "a", link));
    let turns = |count| (0..count).map(|_| chosen(&registry, Some("a")).unwrap());
    assert_eq!(turns(4).collect::<Vec<_>>(), ["1", "2", "3", "1"]);
    links[1].1.store(false, Ordering::Relaxed);
    assert_eq!(turns(3).collect::<Vec<_>>(), ["3", "1", "3"]);
    for link in &links {
        link.1.store(false, Ordering::Relaxed);
    }
    let refusal = chosen(&registry, Some("a")).unwrap_err();
    assert_eq!(refusal, "agent a is not connected");
    assert_eq!(
        chosen(&registry, None).unwrap_err(),
        "no agent is connected"
    );
}

#[test]
fn a_call_waits_for_a_tunnel_that_is_being_opened() {
    let registry = Registry::new();
    let arrival = registry.arriving(name("a"));
    let a = name("a");
    let mut named = spawn(registry.choose(Some(&a), &[], &any));
    let mut any = spawn(registry.choose(None, &[], &any));
    assert_pending!(named.poll());
    assert_pending!(any.poll());
    let _member = arrival.register(fake("1"), peer());
    assert!(named.is_woken() && any.is_woken());
    assert_eq!(assert_ready!(named.poll()).unwrap().link.0, "1");
    assert_eq!(assert_ready!(any.poll()).unwrap().link.0, "1");
}

#[test]
fn an_arrival_that_is_kept_does_not_make_calls_wait() {
    let registry = Registry::new();
    let arrival = registry.arriving(name("a"));
    let link = fake("1");
    let member = arrival.register(link.clone(), peer());
    link.1.store(false, Ordering::Relaxed);
    assert!(chosen(&registry, Some("a")).is_err());
    drop(member);
    assert!(chosen(&registry, Some("a")).is_err());
}

#[test]
fn a_link_may_hold_its_own_arrival() {
    #[derive(Clone)]
    struct Holding(Arrival<Holding>);
    impl Link for Holding {
        fn takes_calls(&self) -> bool {
            self.0.name().as_str() == "a"
        }

        fn has_room(&self) -> bool {
            true
        }
    }
    let registry = Registry::new();
    let arrival = registry.arriving(name("a"));
    drop(arrival.register(Holding(arrival.clone()), peer()));
    drop(arrival);
    let a = name("a");
    let mut call = spawn(registry.choose(Some(&a), &[], &any));
    assert!(assert_ready!(call.poll()).is_err());
}

#[test]
fn an_agent_that_leaves_does_not_hide_one_that_arrives() {
    let registry = Registry::new();
    let leaving = fake("1");
    let _a = join(&registry, "a", leaving.clone());
    leaving.1.store(false, Ordering::Relaxed);
    let _b = registry.arriving(name("b"));
    assert_pending!(spawn(registry.choose(None, &[], &any)).poll());
}

#[test]
fn a_call_stops_waiting_when_the_opening_fails() {
    let registry: Registry<Fake> = Registry::new();
    let arrival = registry.arriving(name("a"));
    let clone = arrival.clone();
    let a = name("a");
    let mut call = spawn(registry.choose(Some(&a), &[], &any));
    assert_pending!(call.poll());
    drop(arrival);
    assert_pending!(call.poll());
    drop(clone);
    assert!(call.is_woken());
    assert!(assert_ready!(call.poll()).is_err());
}

#[test]
fn a_full_tunnel_is_taken_only_when_all_are_full() {
    let registry = Registry::new();
    let (one, two) = (fake("1"), fake("2"));
    let _members = [&one, &two].map(|link| join(&registry, "a", link.clone()));
    one.2.store(false, Ordering::Relaxed);
    let turns = |count| (0..count).map(|_| chosen(&registry, Some("a")).unwrap());
    assert_eq!(turns(3).collect::<Vec<_>>(), ["2", "2", "2"]);
    two.2.store(false, Ordering::Relaxed);
    assert_eq!(turns(2).collect::<Vec<_>>(), ["1", "2"]);
}

#[test]
fn a_tunnel_that_was_tried_is_not_chosen_again() {
    let registry = Registry::new();
    let _members = ["1", "2"].map(|label| join(&registry, "a", fake(label)));
    let a = name("a");
    let mut tried = Vec::new();
    for expected in ["1", "2"] {
        let mut choice = spawn(registry.choose(Some(&a), &tried, &any));
        let chosen = assert_ready!(choice.poll()).unwrap();
        assert_eq!(chosen.link.0, expected);
        drop(choice);
        tried.push(chosen.id);
    }
    let mut choice = spawn(registry.choose(Some(&a), &tried, &any));
    assert!(assert_ready!(choice.poll()).is_err());
}

#[test]
fn who_joins_learns_of_the_others_of_its_name() {
    let registry = Registry::new();
    let at = |port: u16| Endpoint::Tcp(([127, 0, 0, 1], port).into());
    let join = |port| registry.arriving(name("a")).register(fake("1"), at(port));
    let (_first, none) = join(1);
    let (_second, others) = join(2);
    assert_eq!((none, others), (vec![], vec![at(1)]));
}

#[test]
fn an_answer_is_awaited_until_it_is_another() {
    let registry = Registry::new();
    let a = name("a");
    let mut change = spawn(registry.other(Some(false), || registry.is_connected(&a)));
    assert_pending!(change.poll());
    let _member = join(&registry, "a", fake("1"));
    assert!(change.is_woken());
    assert!(assert_ready!(change.poll()));
}
