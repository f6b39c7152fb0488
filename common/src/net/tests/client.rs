//! A caller and what it waits for.

use super::*;

#[tokio::test]
async fn regression_6_a_black_hole_ends_at_its_deadline_and_holds_up_nobody() {
    // It is never accepted: the system completes the connection, and then nothing comes.
    let black_hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = black_hole.local_addr().unwrap();
    let server = TestServer::start(|_| {}).await;
    let deadlines = ClientDeadlines { connect: SHORT, ..patient() };
    let begun = Instant::now();
    let own = |_: &Hello| hello_of(NETWORK);
    let into_the_dark = tokio::spawn(async move { connect(address, Some(&NETWORK), own, deadlines).await });
    let mut session = server.connect().await.unwrap();
    assert_serves(&mut session).await;
    let outcome = into_the_dark.await.unwrap();
    assert!(matches!(outcome, Err(ConnectError::NoHello { within: SHORT, .. })));
    assert!(begun.elapsed() < LONG);
}

/// A name may lead to an address that is no more.
#[tokio::test]
async fn a_peer_is_reached_at_its_second_address_although_the_first_is_silent() {
    let black_hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = TestServer::start(|_| {}).await;
    let addresses = [black_hole.local_addr().unwrap(), server.server.address()];
    let deadlines = ClientDeadlines { connect: 2 * FAIR, ..patient() };
    let own = |_: &Hello| hello_of(NETWORK);
    let call = connect_to_any(&addresses, &NETWORK, own, deadlines.clone());
    // All of them together have no longer than one.
    let (mut session, _) = timeout(3 * FAIR, call).await.expect("it is in time").unwrap();
    assert_serves(&mut session).await;
    let nowhere = connect_to_any(&[], &NETWORK, own, deadlines).await;
    assert!(matches!(nowhere, Err(ConnectError::NotFound { .. })));
}

#[tokio::test]
async fn an_answer_has_a_deadline_and_silence_without_a_request_has_none() {
    let server = TestServer::start(|_| {}).await;
    let deadlines = ClientDeadlines { answer: FAIR, ..patient() };
    let mut session = server.connect_patiently(deadlines).await.unwrap();
    assert!(timeout(FAIR + SHORT, session.next()).await.is_err());
    assert_serves(&mut session).await;
    session.send(&Request::WaitStatus { tip: BlockId::ZERO }).await.unwrap();
    // However often the wait is cancelled and begun again, the deadline stays.
    let begun = Instant::now();
    let late = loop {
        if let Ok(outcome) = timeout(SHORT, session.next()).await {
            break outcome;
        }
        assert!(begun.elapsed() < LONG);
    };
    assert!(matches!(late, Err(SessionError::Transfer(TransferError::Idle))));
}

#[tokio::test]
async fn a_server_that_speaks_unasked_or_goes_is_noticed() {
    let mut greeting = encode_frame(&hello_of(NETWORK));
    let (server, outcome) = caller_of_raw_server(patient(), &greeting).await;
    let mut session = outcome.unwrap();
    drop(server);
    assert!(matches!(session.next().await, Err(SessionError::Transfer(_))));

    greeting.extend(encode_frame(&Response::Headers(Vec::new())));
    let (_server, outcome) = caller_of_raw_server(patient(), &greeting).await;
    assert!(matches!(outcome.unwrap().next().await, Err(SessionError::Unasked)));
}

#[tokio::test]
async fn peers_are_found_by_address_and_nonsense_is_named() {
    let found = resolve("127.0.0.1:2607", LONG).await.unwrap();
    assert_eq!(found, ["127.0.0.1:2607".parse().unwrap()]);
    let error = resolve("no port", LONG).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotFound { peer, .. } if peer == "no port"));
}
