//! Requests and their answers, and the end of a server.

use super::*;

#[tokio::test]
async fn requests_in_flight_are_answered_in_order() {
    let server = TestServer::start(|_| {}).await;
    let (mut requests, mut responses) = server.connect().await.unwrap().split();
    let ids = [BlockId::from_bytes([1; 32]), BlockId::from_bytes([2; 32])];
    requests.send(&Request::GetBlocks { ids: ids.to_vec() }).await.unwrap();
    requests.send(&Request::GetHeaders { locator: Vec::new(), limit: 0 }).await.unwrap();
    requests.send(&Request::GetBlocks { ids: Vec::new() }).await.unwrap();
    requests.send(&Request::GetRules).await.unwrap();
    drop(requests);
    for expected in [
        Response::Block((&block_for(ids[0])).into()),
        Response::Block((&block_for(ids[1])).into()),
        Response::Headers(Vec::new()),
        Response::Rules(vec![1, 2, 3]),
    ] {
        assert_eq!(responses.next().await.unwrap(), expected);
    }
    assert!(matches!(responses.next().await, Err(SessionError::Finished)));
}

#[tokio::test]
async fn regression_7_a_chain_of_300_kilobytes_arrives_whole() {
    let server = TestServer::start(|_| {}).await;
    let mut session = server.connect().await.unwrap();
    let ids: Vec<_> = (0..MAX_BLOCK_IDS).map(|n| BlockId::from_bytes([n as u8; 32])).collect();
    session.send(&Request::GetBlocks { ids: ids.clone() }).await.unwrap();
    let mut received_bytes = 0;
    for id in ids {
        let frame = session.responses.next_frame().await.unwrap();
        received_bytes += frame.len();
        let expected = encode_frame(&Response::Block((&block_for(id)).into()));
        assert_eq!(frame, expected[4..]);
    }
    assert!(received_bytes > 300_000, "{received_bytes}");
    assert_serves(&mut session).await;
}

#[tokio::test]
async fn a_thousand_requests_are_answered_in_order_while_others_are_served() {
    let server = TestServer::start(|_| {}).await;
    let (mut requests, mut responses) = server.connect().await.unwrap().split();
    let ids: Vec<BlockId> = (0..8).map(|n| BlockId::from_bytes([n; 32])).collect();
    let asked = Request::GetBlocks { ids: ids.clone() };
    let asking = tokio::spawn(async move {
        for _ in 0..1_000 {
            requests.send(&asked).await.unwrap();
        }
        requests
    });
    let mut other = server.connect().await.unwrap();
    for _ in 0..100 {
        // Nothing is read of the thousand meanwhile: the server waits with them, and with nothing else.
        assert_serves(&mut other).await;
    }
    for _ in 0..1_000 {
        for id in &ids {
            let expected = encode_frame(&Response::Block((&block_for(*id)).into()));
            assert_eq!(responses.next_frame().await.unwrap(), expected[4..]);
        }
    }
    asking.await.unwrap();
}

#[tokio::test]
async fn a_frame_beyond_the_limit_or_a_malformed_request_ends_the_connection() {
    let mut server = TestServer::start(|_| {}).await;
    let mut stream = server.connect_raw().await;
    stream.write_all(&(MAX_FRAME_BYTES as u32 + 1).to_le_bytes()).await.unwrap();
    let reason = server.closed().await;
    let CloseReason::Transfer(TransferError::TooLong { got, .. }) = reason else { panic!("{reason}") };
    assert_eq!(got, MAX_FRAME_BYTES + 1);
    assert!(is_ended(&mut stream).await);

    let mut stream = server.connect_raw().await;
    stream.write_all(&[5, 0, 0, 0, 10, 0, 0, 0, 99]).await.unwrap();
    assert!(matches!(server.closed().await, CloseReason::MalformedRequest(_)));
    assert!(is_ended(&mut stream).await);
}

#[tokio::test]
async fn a_request_of_a_later_version_is_unsupported_and_no_fault() {
    let server = TestServer::start(|_| {}).await;
    let mut stream = server.connect_raw().await;
    stream.write_all(&[6, 0, 0, 0, 77, 0, 0, 0, 1, 2]).await.unwrap();
    stream.write_all(&encode_frame(&Request::GetRules)).await.unwrap();
    for expected in [Response::Unsupported(77), Response::Rules(vec![1, 2, 3])] {
        assert_eq!(read_frame(&mut stream).await, encode_frame(&expected)[4..]);
    }
}

#[tokio::test]
async fn a_service_can_give_a_caller_up_and_its_defects_end_one_connection_only() {
    let mut server = TestServer::start(|limits| limits.answer = SHORT).await;
    let mut other = server.connect().await.unwrap();
    let transaction = TransactionId::ZERO;
    let id = BlockId::ZERO;
    for (request, frames, expected) in [
        (Request::GetProof { transaction }, 0, "asked too much"),
        (Request::GetCompact { id }, 1, "the store failed"),
        (Request::GetTransactions { ids: Vec::new() }, 0, "panicked"),
        (Request::WaitStatus { tip: id }, 0, "no answer was found"),
    ] {
        let mut session = server.connect().await.unwrap();
        session.send(&request).await.unwrap();
        for _ in 0..frames {
            session.next().await.unwrap();
        }
        assert!(matches!(session.next().await, Err(SessionError::Transfer(_))));
        let reason = server.closed().await.to_string();
        assert!(reason.contains(expected), "{reason}");
        assert_serves(&mut other).await;
    }
}

#[tokio::test]
async fn a_taken_port_moves_to_a_free_one() {
    let host = Addresses::this_machine().host();
    let first = Listener::bind(host, 0).await.unwrap();
    let second = Listener::bind(host, first.port()).await.unwrap();
    assert_ne!(second.port(), first.port());
    assert_ne!(second.port(), 0);
}

#[tokio::test]
async fn stopping_closes_every_connection_and_the_port_at_once() {
    for by_dropping in [false, true] {
        let mut server = TestServer::start(|_| {}).await;
        let address = server.server.address();
        let mut silent = TcpStream::connect(address).await.unwrap();
        read_frame(&mut silent).await;
        let mut waiting = server.connect().await.unwrap();
        waiting.send(&Request::WaitStatus { tip: BlockId::ZERO }).await.unwrap();
        let mut deaf = server.connect_raw().await;
        deaf.write_all(&encode_frame(&Request::GetPoolIds { after: None })).await.unwrap();
        let mut idle = server.connect().await.unwrap();
        assert_serves(&mut idle).await;
        let begun = Instant::now();
        if by_dropping {
            drop(server.server);
        } else {
            server.server.stop().await;
        }
        for _ in 0..4 {
            let reason = timeout(LONG, server.closed.recv()).await.unwrap().unwrap();
            assert!(matches!(reason, CloseReason::ServerStopped));
        }
        assert!(begun.elapsed() < Duration::from_secs(2));
        assert!(is_ended(&mut silent).await);
        assert!(matches!(waiting.next().await, Err(SessionError::Transfer(_))));
        assert!(matches!(idle.next().await, Err(SessionError::Transfer(_))));
        let own = |_: &Hello| hello_of(NETWORK);
        assert!(connect(address, None, own, patient()).await.is_err());
    }
}
