//! The first words of a connection.

use super::*;

#[tokio::test]
async fn hellos_are_exchanged_and_requests_answered() {
    let mut server = TestServer::start(|_| {}).await;
    let own = |theirs: &Hello| Hello { instance: theirs.instance + 41, ..hello_of(NETWORK) };
    let address = server.server.address();
    let (mut session, hello) = connect(address, Some(&NETWORK), own, patient()).await.unwrap();
    assert_eq!(hello, hello_of(NETWORK));
    assert_serves(&mut session).await;
    assert_eq!(server.opened.recv().await.unwrap().instance, 42);
    drop(session);
    assert!(matches!(server.closed().await, CloseReason::Transfer(TransferError::Closed)));
}

#[tokio::test]
async fn a_caller_says_nothing_to_a_server_of_another_network() {
    let greeting = encode_frame(&hello_of(OTHER_NETWORK));
    let (mut server, outcome) = caller_of_raw_server(patient(), &greeting).await;
    let refused = HelloError::OtherNetwork { network: OTHER_NETWORK };
    assert!(matches!(outcome, Err(ConnectError::Hello { source, .. }) if source == refused));
    let mut said = Vec::new();
    server.read_to_end(&mut said).await.unwrap();
    assert!(said.is_empty());
}

#[tokio::test]
async fn a_caller_of_another_network_hears_the_servers_hello_and_no_more() {
    let mut server = TestServer::start(|_| {}).await;
    let mut stream = TcpStream::connect(server.server.address()).await.unwrap();
    assert_eq!(Hello::from_frame(&read_frame(&mut stream).await).unwrap(), hello_of(NETWORK));
    let mut said = encode_frame(&hello_of(OTHER_NETWORK));
    said.extend(encode_frame(&Request::GetRules));
    stream.write_all(&said).await.unwrap();
    assert!(is_ended(&mut stream).await);
    let reason = server.closed().await;
    let expected = HelloError::OtherNetwork { network: OTHER_NETWORK };
    assert!(matches!(&reason, CloseReason::Hello(error) if *error == expected), "{reason}");
    assert!(server.opened.try_recv().is_err());
}

#[tokio::test]
async fn a_stranger_who_comes_for_the_rules_gets_them() {
    let server = TestServer::start(|_| {}).await;
    let own = |theirs: &Hello| hello_of(theirs.network);
    let (mut session, hello) = connect(server.server.address(), None, own, patient()).await.unwrap();
    assert_eq!(hello.network, NETWORK);
    assert_serves(&mut session).await;
}

#[tokio::test]
async fn hellos_that_are_none_are_refused_on_both_sides() {
    let mut server = TestServer::start(|_| {}).await;
    let mut not_farthing = hello_of(NETWORK);
    not_farthing.magic = *b"HTTP";
    let mut too_long = hello_of(NETWORK);
    too_long.agent = vec![b'x'; MAX_HELLO_FRAME_BYTES];
    for (greeting, expected) in [
        (encode_frame(&not_farthing), "no farthing program"),
        (encode_frame(&too_long), "at most 1024"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "at most 1024"),
        (vec![3, 0, 0, 0, 1, 2, 3], "does not decode"),
    ] {
        let mut stream = TcpStream::connect(server.server.address()).await.unwrap();
        read_frame(&mut stream).await;
        stream.write_all(&greeting).await.unwrap();
        assert!(is_ended(&mut stream).await);
        let reason = server.closed().await.to_string();
        assert!(reason.contains(expected), "{reason}");
        let (_, outcome) = caller_of_raw_server(patient(), &greeting).await;
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn before_a_hello_nothing_is_sent_but_the_servers_own() {
    let server = TestServer::start(|_| {}).await;
    let own = encode_frame(&hello_of(NETWORK));
    for said in [vec![], vec![0; 4], vec![0xff; 4_096], encode_frame(&Request::GetRules).repeat(100)] {
        let mut stream = TcpStream::connect(server.server.address()).await.unwrap();
        // It may be cut off before it has said all.
        let _ = stream.write_all(&said).await;
        let mut heard = Vec::new();
        let mut part = [0; 1_024];
        // Cut off with bytes unread, the system may say so by an error.
        while heard.len() < own.len() || !said.is_empty() {
            match timeout(LONG, stream.read(&mut part)).await.expect("the connection ends") {
                Ok(0) | Err(_) => break,
                Ok(count) => heard.extend_from_slice(&part[..count]),
            }
        }
        assert!(own.starts_with(&heard), "{} bytes", heard.len());
        assert!(!said.is_empty() || heard == own, "whoever calls is greeted");
    }
}
