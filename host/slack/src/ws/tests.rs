//! Against tungstenite, a WebSocket server that is not ours, and against peers that misbehave.

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

use super::*;
use crate::testing::soon;

const LIVELY: Liveness = Liveness {
    ping_every: Duration::from_secs(8),
    silence: Duration::from_secs(25),
};

type Server = WebSocketStream<TcpStream>;

/// A socket of ours, and the server's end of it.
async fn pair(liveness: Liveness) -> (Socket<reqwest::Upgraded>, Server) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/rtm?once", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(api::tls(false).unwrap())
        .build()
        .unwrap();
    let accepting = async {
        let config = WebSocketConfig::default()
            .max_frame_size(None)
            .max_message_size(None);
        accept_async_with_config(listener.accept().await.unwrap().0, Some(config))
            .await
            .unwrap()
    };
    let (client, server) =
        soon(async { tokio::join!(connect(&http, &url, 16 << 20, liveness), accepting) }).await;
    (client.unwrap(), server)
}

async fn next<S: AsyncRead + AsyncWrite>(
    socket: &mut Socket<S>,
) -> Result<ServerMessage, ConnectionLoss> {
    loop {
        if let Some(received) = socket.take()? {
            return Ok(received);
        }
        socket.wait().await?;
    }
}

#[tokio::test]
async fn messages_come_from_a_foreign_server_whole() {
    let (mut client, mut server) = pair(LIVELY).await;
    let large = "ü".repeat(8 << 20);
    let sent = large.clone();
    let sending = tokio::spawn(async move {
        server.send(Message::text("first")).await.unwrap();
        server.send(Message::text(sent)).await.unwrap();
        server.send(Message::text("last")).await.unwrap();
        server
    });
    for expect in ["first", &large, "last"] {
        let received = soon(next(&mut client)).await.unwrap();
        assert!(
            received == ServerMessage::Message(expect.to_owned().into()),
            "{} bytes",
            expect.len()
        );
    }
    sending.await.unwrap();
}

#[tokio::test]
async fn a_foreign_server_understands_what_we_send() {
    let (mut client, mut server) = pair(LIVELY).await;
    let texts = ["", "short", &"m".repeat(300), &"l".repeat(70_000)];
    for text in texts {
        client.send_text(text).unwrap();
    }
    let reading = async {
        for text in texts {
            assert_eq!(server.next().await.unwrap().unwrap(), Message::text(text));
        }
    };
    soon(async {
        tokio::select! {
            lost = client.wait() => panic!("{lost:?}"),
            () = reading => {}
        }
    })
    .await;
}

#[tokio::test]
async fn a_ping_is_answered_with_its_own_payload() {
    let (mut client, mut server) = pair(LIVELY).await;
    server.send(Message::Ping("42".into())).await.unwrap();
    soon(async {
        tokio::select! {
            received = next(&mut client) => panic!("{received:?}"),
            message = server.next() => assert_eq!(message.unwrap().unwrap(), Message::Pong("42".into())),
        }
    })
    .await;
}

#[tokio::test]
async fn our_own_pings_keep_a_silent_but_living_connection() {
    let quick = Liveness {
        ping_every: Duration::from_millis(20),
        silence: Duration::from_millis(1000),
    };
    let (mut client, mut server) = pair(quick).await;
    let serving = async {
        for _ in 0..5 {
            assert!(server.next().await.unwrap().unwrap().is_ping());
        }
    };
    soon(async {
        tokio::select! {
            received = next(&mut client) => panic!("{received:?}"),
            () = serving => {}
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_dead_at_the_limit() {
    let (near, _far) = tokio::io::duplex(1 << 16);
    let mut socket = Socket::new(near, 1000, LIVELY);
    let began = Instant::now();
    assert!(matches!(
        next(&mut socket).await,
        Err(ConnectionLoss::Silent(_))
    ));
    assert_eq!(began.elapsed().as_secs(), 25);
}

#[tokio::test(start_paused = true)]
async fn time_without_reading_does_not_count_as_silence() {
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let mut socket = Socket::new(near, 1000, LIVELY);
    tokio::time::advance(Duration::from_secs(3600)).await;
    let began = Instant::now();
    let answering = async {
        let mut ping = [0; 6];
        far.read_exact(&mut ping).await.unwrap();
        far.write_all(b"\x8a\x00\x81\x02hi").await.unwrap();
    };
    let (received, ()) = tokio::join!(next(&mut socket), answering);
    assert_eq!(received.unwrap(), ServerMessage::Message("hi".into()));
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn pongs_and_pings_go_out_while_there_is_always_more_to_read() {
    let mut frames = b"\x89\x02hi".to_vec();
    for _ in 0..100 {
        frames.extend_from_slice(&[0x82, 127]);
        frames.extend_from_slice(&100_000_u64.to_be_bytes());
        frames.extend_from_slice(&[b' '; 100_000]);
    }
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let mut socket = Socket::new(tokio::io::join(&frames[..], near), 1 << 20, LIVELY);
    for _ in 0..100 {
        next(&mut socket).await.unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    drop(socket);
    let mut sent = Vec::new();
    far.read_to_end(&mut sent).await.unwrap();
    let mut opcodes = Vec::new();
    let mut rest = &sent[..];
    while let [first, second, ..] = rest {
        opcodes.push(first & 0xf);
        rest = &rest[6 + usize::from(second & 0x7f)..];
    }
    assert_eq!(opcodes[0], 0xa, "the pong comes first");
    let pings = opcodes.iter().filter(|&&opcode| opcode == 9).count();
    assert!((10..=13).contains(&pings), "{pings} pings in 100 s");
}

#[tokio::test]
async fn a_close_is_a_handshake() {
    let (client, mut server) = pair(LIVELY).await;
    let serving = async {
        assert!(server.next().await.unwrap().unwrap().is_close());
        assert!(
            server.next().await.is_none(),
            "the close was answered and the connection ended in order"
        );
    };
    soon(async { tokio::join!(client.close(), serving) }).await;
}

#[tokio::test]
async fn a_cut_connection_is_seen_at_once() {
    let (mut client, server) = pair(LIVELY).await;
    drop(server);
    assert!(matches!(
        soon(next(&mut client)).await,
        Err(ConnectionLoss::Cut | ConnectionLoss::Io(_))
    ));
}

#[tokio::test]
async fn a_server_that_speaks_http_only_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("ws://{}/", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(api::tls(false).unwrap())
        .build()
        .unwrap();
    for (answer, expect) in [
        (
            "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            "HTTP status 404",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            "did not accept",
        ),
    ] {
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream
        };
        let (error, _stream) =
            soon(async { tokio::join!(connect(&http, &url, 1000, LIVELY), serving) }).await;
        let error = error.err().unwrap().to_string();
        assert!(error.contains(expect), "{error}");
    }
    let error = connect(&http, &"https://slack.com/".parse().unwrap(), 1000, LIVELY)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, ConnectError::Url(_)));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_sends_and_takes_in_nothing_is_given_up() {
    let (near, mut far) = tokio::io::duplex(64);
    let mut socket = Socket::new(near, 1000, LIVELY);
    socket.send_text(&"x".repeat(1000)).unwrap();
    let began = Instant::now();
    let talking = async {
        loop {
            far.write_all(b"\x81\x02hi").await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let listening = async {
        loop {
            match next(&mut socket).await {
                Ok(received) => assert_eq!(received, ServerMessage::Message("hi".into())),
                Err(lost) => break lost,
            }
        }
    };
    let lost = tokio::select! {
        lost = listening => lost,
        () = talking => unreachable!(),
    };
    assert!(matches!(lost, ConnectionLoss::NotReading), "{lost}");
    assert_eq!(began.elapsed().as_secs(), 25);
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_does_not_read_still_sends_and_pings_and_does_not_count_that_as_silence() {
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let mut socket = Socket::new(near, 1000, LIVELY);
    socket.send_text("ack").unwrap();
    let tended = tokio::time::timeout(Duration::from_secs(100), socket.tend()).await;
    assert!(tended.is_err(), "{tended:?}");
    let began = Instant::now();
    assert!(matches!(
        next(&mut socket).await,
        Err(ConnectionLoss::Silent(_))
    ));
    assert!(began.elapsed() >= LIVELY.silence - LIVELY.ping_every);
    drop(socket);
    let mut sent = Vec::new();
    far.read_to_end(&mut sent).await.unwrap();
    let mut frames = Vec::new();
    let mut rest = &sent[..];
    while let [first, second, ..] = rest {
        frames.push(*first);
        rest = &rest[6 + usize::from(second & 0x7f)..];
    }
    assert_eq!(frames[0], 0x81, "the text comes first");
    assert!((14..=17).contains(&frames.len()), "{frames:?}");
}
