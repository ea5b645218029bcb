use crate::client::{Connection, request, send};
use crate::process::{Gateway, ROUTES, eventually};
use crate::upstream::Echo;

fn get() -> String {
    request("GET", "/v1/things", &[], "")
}

#[test]
fn a_lame_duck_serves_and_sends_its_clients_away() {
    let echo = Echo::start();
    let gateway = Gateway::start(ROUTES, &[echo.address], &[("DRAIN_DELAY", "60s")]);
    let ready = || send(gateway.admin, request("GET", "/readyz", &[], "")).status;
    eventually("readiness", || (ready() == 200).then_some(()));
    let mut old = Connection::open(gateway.address);
    assert_eq!(old.exchange(get()).header("connection"), None);

    gateway.terminate();
    eventually("the end of readiness", || (ready() == 503).then_some(()));
    let reply = old.exchange(get());
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    assert!(old.is_closed());
    let mut new = Connection::open(gateway.address);
    let reply = new.exchange(get());
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    let refused = send(gateway.address, request("GET", "/nothing", &[], ""));
    assert_eq!(
        (refused.status, refused.header("connection")),
        (404, Some("close"))
    );
}

#[test]
fn what_is_in_flight_is_answered_before_the_process_ends() {
    let echo = Echo::start();
    let mut gateway = Gateway::before(&[echo.address]);
    let mut slow = Connection::open(gateway.address);
    let mut idle = Connection::open(gateway.address);
    assert_eq!(idle.exchange(get()).status, 200);
    slow.send(request("GET", "/v1/things?delay_ms=2000", &[], ""));
    eventually("the slow request", || (echo.seen().len() == 2).then_some(()));

    gateway.terminate();
    assert_eq!(slow.reply().status, 200);
    assert!(idle.is_closed());
    assert_eq!(gateway.exit_code(), Some(0));
}

#[test]
fn what_is_in_flight_after_the_grace_is_not_waited_for() {
    let echo = Echo::start();
    let settings = [("SHUTDOWN_GRACE_SECONDS", "1")];
    let mut gateway = Gateway::start(ROUTES, &[echo.address], &settings);
    let mut slow = Connection::open(gateway.address);
    slow.send(request("GET", "/v1/things?delay_ms=60000", &[], ""));
    eventually("the slow request", || (echo.seen().len() == 1).then_some(()));
    gateway.terminate();
    assert_eq!(gateway.exit_code(), Some(0));
}
