//! What callers may cost, and who gives way.

use super::*;

#[tokio::test]
async fn regression_6_idle_callers_starve_nobody_and_are_dropped() {
    let mut server = TestServer::start(|limits| limits.hello = FAIR).await;
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(TcpStream::connect(server.server.address()).await.unwrap());
    }
    let mut session = server.connect().await.unwrap();
    assert_serves(&mut session).await;
    for _ in 0..silent.len() {
        assert!(matches!(server.closed().await, CloseReason::NoHello { within: FAIR }));
    }
    assert_serves(&mut session).await;
}

#[tokio::test]
async fn callers_that_ask_nothing_or_ask_it_slowly_are_dropped() {
    let mut server = TestServer::start(|limits| limits.idle = SHORT).await;
    let mut idle = server.connect_raw().await;
    assert!(matches!(server.closed().await, CloseReason::Transfer(TransferError::Idle)));
    assert!(is_ended(&mut idle).await);

    let mut server = TestServer::start(|limits| limits.frame = SHORT).await;
    let mut slow = server.connect_raw().await;
    slow.write_all(&[4, 0, 0, 0, 10, 0]).await.unwrap();
    let reason = server.closed().await;
    assert!(matches!(reason, CloseReason::Transfer(TransferError::SlowSender { within: SHORT })));
    assert!(is_ended(&mut slow).await);
}

#[tokio::test]
async fn a_caller_that_does_not_read_is_dropped_and_little_is_made_for_it() {
    let mut server = TestServer::start(|limits| limits.write = SHORT).await;
    let mut deaf = server.connect_raw().await;
    deaf.write_all(&encode_frame(&Request::GetPoolIds { after: None })).await.unwrap();
    let mut other = server.connect().await.unwrap();
    assert_serves(&mut other).await;
    let reason = server.closed().await;
    assert!(matches!(reason, CloseReason::Transfer(TransferError::SlowReader { within: SHORT })));
    // The answer is endless, in pages of 1 MiB: no more of it was made than the system's buffers took.
    let made = server.frames_made.load(Ordering::Relaxed);
    assert!(made < 64, "{made}");
    assert_serves(&mut other).await;
}

#[tokio::test]
async fn connections_are_limited_in_all_and_by_address_and_room_comes_back() {
    let mut server = TestServer::start(|limits| limits.connections = 2).await;
    let first = server.connect().await.unwrap();
    let mut second = server.connect().await.unwrap();
    assert!(server.connect().await.is_err());
    assert!(matches!(server.closed().await, CloseReason::TooManyConnections { most: 2 }));
    drop(first);
    assert!(matches!(server.closed().await, CloseReason::Transfer(TransferError::Closed)));
    let mut third = server.connect().await.unwrap();
    assert_serves(&mut second).await;
    assert_serves(&mut third).await;

    let mut server = TestServer::start(|limits| limits.connections_per_address = 1).await;
    let _first = server.connect().await.unwrap();
    assert!(server.connect().await.is_err());
    assert!(matches!(server.closed().await, CloseReason::TooManyOfOneAddress { most: 1, .. }));
}

#[tokio::test]
async fn a_flood_of_silent_callers_keeps_nobody_out() {
    let mut server = TestServer::start(|limits| limits.connections = 8).await;
    let mut polite = server.connect().await.unwrap();
    assert_serves(&mut polite).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(server.server.address()).await.unwrap());
        assert_serves(&mut polite).await;
    }
    let mut late = server.connect().await.unwrap();
    assert_serves(&mut late).await;
    for _ in 0..44 {
        assert!(matches!(server.closed().await, CloseReason::GaveWay));
    }
    assert_serves(&mut polite).await;
}

#[tokio::test]
async fn callers_that_take_no_answers_give_way_when_all_together_hold_too_much() {
    const MIB: usize = 1 << 20;
    let mut server = TestServer::start(|limits| limits.answer_bytes = 5 * MIB).await;
    let mut other = server.connect().await.unwrap();
    let mut deaf = Vec::new();
    for _ in 0..12 {
        let mut stream = server.connect_raw().await;
        stream.write_all(&encode_frame(&Request::GetPoolIds { after: None })).await.unwrap();
        deaf.push(stream);
    }
    // Each is stuck with a page of a mebibyte, and a little.
    for _ in 0..8 {
        assert!(matches!(server.closed().await, CloseReason::GaveWay));
    }
    assert_serves(&mut other).await;
}

#[tokio::test]
async fn long_requests_that_never_end_give_way_to_others() {
    const MIB: usize = 1 << 20;
    let mut server = TestServer::start(|limits| limits.request_bytes = 20 * MIB).await;
    let mut slow = Vec::new();
    for _ in 0..5 {
        let mut stream = server.connect_raw().await;
        stream.write_all(&(MAX_FRAME_BYTES as u32).to_le_bytes()).await.unwrap();
        slow.push(stream);
    }
    for _ in 0..3 {
        assert!(matches!(server.closed().await, CloseReason::GaveWay));
    }
    let mut session = server.connect().await.unwrap();
    assert_serves(&mut session).await;
}

#[tokio::test]
async fn after_broken_rules_the_same_address_is_slowed_down_and_served() {
    let mut server = TestServer::start(|_| {}).await;
    for _ in 0..3 {
        let mut stream = server.connect_raw().await;
        stream.write_all(&[5, 0, 0, 0, 10, 0, 0, 0, 99]).await.unwrap();
        assert!(matches!(server.closed().await, CloseReason::MalformedRequest(_)));
    }
    let begun = Instant::now();
    let mut session = server.connect().await.unwrap();
    assert!(begun.elapsed() >= limits::FIRST_PAUSE);
    assert_serves(&mut session).await;
}
