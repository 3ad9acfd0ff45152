//! Those who wait, those who go, and those who ask too much.

use std::net::SocketAddr;
use std::time::Duration;

use djangobot_channels::{
    BindError, ChannelName, EmbeddedServer, LayerConfig, ReceiverId, ServerOptions, open,
};
use djangobot_tests::eventually;

use crate::client::Client;

async fn server() -> EmbeddedServer {
    EmbeddedServer::bind(local()).await.unwrap()
}

fn local() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Waits until `count` clients are connected, the asking one among them.
async fn clients(address: SocketAddr, count: usize) {
    let mut client = Client::connect(address).await;
    eventually("the others to go", async || {
        let list = client.call(&["CLIENT", "LIST"]).await;
        (list.matches("id=").count() == count).then_some(())
    })
    .await;
}

/// Waits until `count` clients wait for an item.
async fn blocked(address: SocketAddr, count: usize) {
    let mut client = Client::connect(address).await;
    eventually("the clients to wait", async || {
        client
            .call(&["INFO"])
            .await
            .contains(&format!("blocked_clients:{count}\\r"))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_client_that_waited_longest_is_served_first() {
    let server = server().await;
    let mut waiters = Vec::new();
    for index in 0..3 {
        let mut client = Client::connect(server.addr()).await;
        client.send(&["BZPOPMIN", "none", "q", "0"]).await;
        blocked(server.addr(), index + 1).await;
        waiters.push(client);
    }
    let mut sender = Client::connect(server.addr()).await;
    sender.call(&["ZADD", "q", "1", "one", "2", "two"]).await;
    sender.call(&["ZADD", "q", "0", "zero"]).await;
    for (waiter, (member, score)) in waiters
        .iter_mut()
        .zip([("one", 1), ("two", 2), ("zero", 0)])
    {
        let expect = format!("*3 $1 q ${} {member} $1 {score} ", member.len());
        assert_eq!(waiter.reply().await, expect);
    }
    assert_eq!(sender.call(&["EXISTS", "q"]).await, ":0 ");
    server.shutdown().await;
}

#[tokio::test]
async fn a_client_that_has_gone_when_its_request_is_read_takes_nothing_with_it() {
    let server = server().await;
    let mut client = Client::connect(server.addr()).await;
    for round in 0..20 {
        // Both come at once: the server had no time to look when the client gave up its wait.
        let mut gone = Client::connect(server.addr()).await;
        gone.call(&["PING"]).await;
        client.call(&["ZADD", "q", "1", "m"]).await;
        gone.send(&["BZPOPMIN", "q", "0"]).await;
        drop(gone);
        clients(server.addr(), 2).await;
        assert_eq!(
            client.call(&["ZPOPMIN", "q"]).await,
            "*2 $1 m $1 1 ",
            "{round}"
        );
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_waiter_that_goes_away_takes_nothing_with_it() {
    let server = server().await;
    let mut sender = Client::connect(server.addr()).await;
    for round in 0..100 {
        let mut gone = Client::connect(server.addr()).await;
        gone.send(&["BZPOPMIN", "q", "0"]).await;
        blocked(server.addr(), 1).await;
        let member = round.to_string();
        // The message comes right behind the end of the connection.
        drop(gone);
        sender.call(&["ZADD", "q", "1", &member]).await;
        let taken = eventually("the message to be there", async || {
            let taken = sender.call(&["ZPOPMIN", "q"]).await;
            (taken != "*0 ").then_some(taken)
        })
        .await;
        assert_eq!(taken, format!("*2 ${} {member} $1 1 ", member.len()));
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_wait_ends_with_its_time_and_in_a_transaction_at_once() {
    let server = server().await;
    let mut client = Client::connect(server.addr()).await;
    assert_eq!(client.call(&["BZPOPMIN", "q", "0.01"]).await, "*-1 ");
    client.call(&["MULTI"]).await;
    client.call(&["BZPOPMIN", "q", "0"]).await;
    assert_eq!(client.call(&["EXEC"]).await, "*1 *-1 ");
    server.shutdown().await;
}

#[tokio::test]
async fn requests_behind_a_wait_are_answered_after_it() {
    let server = server().await;
    let mut waiter = Client::connect(server.addr()).await;
    waiter.send_raw(b"BZPOPMIN q 0\r\nPING\r\n").await;
    blocked(server.addr(), 1).await;
    Client::connect(server.addr())
        .await
        .call(&["ZADD", "q", "1", "m"])
        .await;
    assert_eq!(waiter.reply().await, "*3 $1 q $1 m $1 1 ");
    assert_eq!(waiter.reply().await, "+PONG ");
    server.shutdown().await;
}

#[tokio::test]
async fn an_item_that_a_transaction_adds_and_pops_itself_wakes_nobody() {
    let server = server().await;
    let mut waiter = Client::connect(server.addr()).await;
    waiter.send(&["BZPOPMIN", "q", "0"]).await;
    blocked(server.addr(), 1).await;
    let mut client = Client::connect(server.addr()).await;
    for request in [&["MULTI"][..], &["ZADD", "q", "1", "m"], &["ZPOPMIN", "q"]] {
        client.call(request).await;
    }
    assert_eq!(client.call(&["EXEC"]).await, "*2 :1 *2 $1 m $1 1 ");
    blocked(server.addr(), 1).await;
    server.shutdown().await;
}

#[tokio::test]
async fn subscribers_hear_channels_and_patterns_in_their_protocol() {
    let server = server().await;
    let mut old = Client::connect(server.addr()).await;
    let mut new = Client::connect(server.addr()).await;
    new.call(&["HELLO", "3"]).await;
    assert_eq!(
        old.call(&["SUBSCRIBE", "news"]).await,
        "*3 $9 subscribe $4 news :1 "
    );
    assert_eq!(
        new.call(&["PSUBSCRIBE", "n*"]).await,
        ">3 $10 psubscribe $2 n* :1 "
    );
    let mut sender = Client::connect(server.addr()).await;
    assert_eq!(sender.call(&["PUBLISH", "news", "hi"]).await, ":2 ");
    assert_eq!(old.reply().await, "*3 $7 message $4 news $2 hi ");
    assert_eq!(new.reply().await, ">4 $8 pmessage $2 n* $4 news $2 hi ");
    assert!(
        old.call(&["GET", "k"])
            .await
            .starts_with("-ERR Can't execute 'get'")
    );
    assert_eq!(new.call(&["GET", "k"]).await, "_ ");
    assert_eq!(
        old.call(&["UNSUBSCRIBE"]).await,
        "*3 $11 unsubscribe $4 news :0 "
    );
    assert_eq!(sender.call(&["PUBLISH", "news", "hi"]).await, ":1 ");
    server.shutdown().await;
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_is_disconnected() {
    let options = ServerOptions {
        subscriber_limit: 100_000,
        ..ServerOptions::default()
    };
    let server = EmbeddedServer::bind_with(local(), options).await.unwrap();
    let mut slow = Client::connect(server.addr()).await;
    slow.call(&["SUBSCRIBE", "news"]).await;
    let mut sender = Client::connect(server.addr()).await;
    let message = vec![b'x'; 100_000];
    let publish = [&b"PUBLISH"[..], b"news", &message];
    eventually("the subscriber to be dropped", async || {
        (sender.call(&publish).await == ":0 ").then_some(())
    })
    .await;
    server.shutdown().await;
}

#[tokio::test]
async fn memory_is_bounded_and_comes_back() {
    let options = ServerOptions {
        memory_limit: 20_000,
        ..ServerOptions::default()
    };
    let server = EmbeddedServer::bind_with(local(), options).await.unwrap();
    let mut client = Client::connect(server.addr()).await;
    let mut refused = String::new();
    for index in 0..30 {
        refused = client
            .call(&["SET", &format!("k{index}"), &"x".repeat(1000)])
            .await;
    }
    assert_eq!(
        refused,
        "-OOM command not allowed when used memory > 'maxmemory'. "
    );
    assert_eq!(client.call(&["DEL", "k0", "k1"]).await, ":2 ");
    assert_eq!(client.call(&["SET", "k", "x"]).await, "+OK ");
    server.shutdown().await;
}

#[tokio::test]
async fn a_store_that_is_full_can_be_read_empty_by_a_layer_of_ours() {
    let options = ServerOptions {
        memory_limit: 20_000,
        ..ServerOptions::default()
    };
    let server = EmbeddedServer::bind_with(local(), options).await.unwrap();
    let urls = [format!("redis://{}", server.addr())];
    let layer = open(LayerConfig::from_urls(&urls).unwrap()).unwrap();
    let to = ChannelName::new("slack.send").unwrap();
    let mut sent = 0;
    let refused = loop {
        let member = layer.seal(&[b'x'; 100]);
        match layer.send(&to, &[member]).await {
            Ok(_) => sent += 1,
            Err(error) => break error.to_string(),
        }
    };
    assert!(refused.contains("OOM"), "{refused}");
    // Nor is there room for anything else.
    let mut client = Client::connect(server.addr()).await;
    for key in 0.. {
        let reply = client.call(&["SET", &key.to_string(), "x"]).await;
        if reply.starts_with("-OOM") {
            break;
        }
    }
    let receiver = layer.receiver(&to, &ReceiverId("r".into())).await.unwrap();
    for _ in 0..sent {
        let delivery = receiver.next().await.unwrap();
        receiver.done(&delivery).await.unwrap();
    }
    assert_eq!(layer.depth(&to).await.unwrap(), Some(0));
    server.shutdown().await;
}

#[tokio::test]
async fn hostile_bytes_end_their_connection_and_no_other() {
    let server = server().await;
    let mut other = Client::connect(server.addr()).await;
    for bytes in [
        &b"*1\r\n$999999999\r\n"[..],
        b"*99999999\r\n",
        b"*1\r\n:1\r\n",
        &[b'x'; 70_000],
    ] {
        let mut client = Client::connect(server.addr()).await;
        client.send_raw(bytes).await;
        let error = client.reply().await;
        assert!(
            error.is_empty() || error.starts_with("-ERR Protocol error"),
            "{error}"
        );
        assert_eq!(client.reply().await, "");
    }
    assert_eq!(other.call(&["PING"]).await, "+PONG ");
    server.shutdown().await;
}

#[tokio::test]
async fn a_web_page_runs_no_commands() {
    let server = server().await;
    let mut other = Client::connect(server.addr()).await;
    for (head, error) in [
        // The usual head of a page's request, and the same where only its second line gives it away.
        ("POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", ""),
        ("post / HTTP/1.1\r\n\r\n", ""),
        ("GET /\r\nhost: 127.0.0.1\r\n\r\n", "$-1 "),
        // Something that is neither HTTP nor a command.
        (
            "\x16\x03\x01 x\r\n",
            "-ERR unknown command '\x16\x03\x01', with args beginning with: 'x' ",
        ),
    ] {
        let mut page = Client::connect(server.addr()).await;
        page.send_raw(format!("{head}SET k hidden\r\nPING\r\n").as_bytes())
            .await;
        assert_eq!(page.reply().await.trim_end(), error.trim_end(), "{head:?}");
        assert_eq!(page.reply().await, "", "{head:?}");
        assert_eq!(other.call(&["GET", "k"]).await, "$-1 ", "{head:?}");
    }
    // A client library's mistake costs it no connection.
    for _ in 0..10 {
        let error = other.call(&["NONSENSE"]).await;
        assert!(error.starts_with("-ERR unknown command"), "{error}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_pattern_that_takes_too_long_is_refused() {
    let server = server().await;
    let mut client = Client::connect(server.addr()).await;
    let name = "a".repeat(1_000_000);
    let pattern = format!("*{}b", &name[..10_000]);
    client.call(&["SET", &name, "x"]).await;
    client.call(&["SET", "asgi:k", "x"]).await;
    let refused = client.call(&["KEYS", &pattern]).await;
    assert!(refused.starts_with("-ERR this pattern takes too long"));
    assert_eq!(client.call(&["KEYS", "asgi*"]).await, "*1 $6 asgi:k ");
    // A transaction has no more time than a command.
    client.call(&["MULTI"]).await;
    client.call(&["KEYS", &pattern]).await;
    client.call(&["KEYS", "asgi*"]).await;
    let both = client.call(&["EXEC"]).await;
    assert_eq!(both.matches("-ERR this pattern").count(), 2, "{both}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_transaction_s_replies_are_bounded() {
    let server = server().await;
    let mut client = Client::connect(server.addr()).await;
    client.call(&["SET", "k", &"x".repeat(10_000_000)]).await;
    client.call(&["ZADD", "q", "1", "m"]).await;
    client.call(&["MULTI"]).await;
    client.call(&["BZPOPMIN", "q", "0"]).await;
    for _ in 0..20 {
        client.call(&["GET", "k"]).await;
    }
    client.call(&["SET", "ran", "yes"]).await;
    let refused = client.call(&["EXEC"]).await;
    assert!(
        refused.starts_with("-ERR the commands ran"),
        "{}",
        refused.len()
    );
    assert_eq!(client.call(&["GET", "ran"]).await, "$3 yes ");
    assert_eq!(client.call(&["ZPOPMIN", "q"]).await, "*2 $1 m $1 1 ");
    server.shutdown().await;
}

#[tokio::test]
async fn names_that_the_server_keeps_are_bounded() {
    let server = server().await;
    let mut client = Client::connect(server.addr()).await;
    client.call(&["HELLO", "3"]).await;
    let (longest, long) = ("x".repeat(1024), "x".repeat(1025));
    for request in [
        &["SUBSCRIBE", "fits", &long][..],
        &["PSUBSCRIBE", &long],
        &["CLIENT", "SETNAME", &long],
        &["HELLO", "3", "SETNAME", &long],
        &["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", &long],
    ] {
        assert_eq!(
            client.call(request).await,
            "-ERR the name is too long; it may have at most 1024 bytes "
        );
    }
    assert_eq!(client.call(&["PUBLISH", "fits", "m"]).await, ":0 ");
    assert_eq!(client.call(&["CLIENT", "SETNAME", &longest]).await, "+OK ");
    let prefixes: Vec<String> = (0..101).map(|prefix| prefix.to_string()).collect();
    let mut tracking = vec!["CLIENT", "TRACKING", "ON", "BCAST"];
    for prefix in &prefixes {
        tracking.extend(["PREFIX", prefix]);
    }
    let keys = vec!["k"; 10_000];
    for request in [
        tracking,
        [&["BZPOPMIN"], &keys[..], &["0"]].concat(),
        vec!["BLPOP", &"x".repeat(1_100_000), "0"],
    ] {
        let refused = client.call(&request).await;
        assert!(refused.starts_with("-ERR too many"), "{refused}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_client_beyond_the_limit_gets_an_error() {
    let options = ServerOptions {
        max_clients: 1,
        ..ServerOptions::default()
    };
    let server = EmbeddedServer::bind_with(local(), options).await.unwrap();
    let mut first = Client::connect(server.addr()).await;
    first.call(&["PING"]).await;
    assert_eq!(
        Client::connect(server.addr()).await.reply().await,
        "-ERR max number of clients reached "
    );
    server.shutdown().await;
}

#[tokio::test]
async fn a_password_is_asked_for() {
    let options = ServerOptions {
        password: Some("s3cret".to_owned()),
        ..ServerOptions::default()
    };
    let server = EmbeddedServer::bind_with(local(), options).await.unwrap();
    let mut client = Client::connect(server.addr()).await;
    assert_eq!(
        client.call(&["GET", "k"]).await,
        "-NOAUTH Authentication required. "
    );
    assert!(
        client
            .call(&["AUTH", "wrong"])
            .await
            .starts_with("-WRONGPASS")
    );
    assert!(client.call(&["HELLO", "3"]).await.starts_with("-NOAUTH"));
    let mut greedy = Client::connect(server.addr()).await;
    greedy.send_raw(b"*1\r\n$60000000\r\n").await;
    assert_eq!(
        greedy.reply().await,
        "-ERR Protocol error: unauthenticated bulk length "
    );
    assert!(
        client
            .call(&["HELLO", "3", "AUTH", "default", "s3cret"])
            .await
            .starts_with('%')
    );
    assert_eq!(client.call(&["GET", "k"]).await, "_ ");
    // A client that gave it may send larger requests, until RESET.
    let long = "x".repeat(20_000);
    assert_eq!(client.call(&["SET", "k", &long]).await, "+OK ");
    assert_eq!(client.call(&["RESET"]).await, "+RESET ");
    assert!(client.call(&["GET", "k"]).await.starts_with("-NOAUTH"));
    client.send_raw(b"*11\r\n").await;
    assert_eq!(
        client.reply().await,
        "-ERR Protocol error: unauthenticated multibulk length "
    );
    server.shutdown().await;
}

#[tokio::test]
async fn an_address_that_can_t_be_had_is_an_error_with_a_cure() {
    let server = server().await;
    let taken = EmbeddedServer::bind(server.addr()).await.unwrap_err();
    assert!(matches!(taken, BindError::InUse { .. }), "{taken}");
    let open = EmbeddedServer::bind(([0, 0, 0, 0], 0).into())
        .await
        .unwrap_err();
    assert!(matches!(open, BindError::Open { .. }), "{open}");
    server.shutdown().await;
}

#[tokio::test]
async fn changes_are_reported_to_clients_that_track_them() {
    let server = server().await;
    let mut tracker = Client::connect(server.addr()).await;
    assert!(
        tracker
            .call(&["CLIENT", "TRACKING", "ON", "BCAST"])
            .await
            .starts_with("-ERR")
    );
    tracker.call(&["HELLO", "3"]).await;
    assert_eq!(
        tracker
            .call(&[
                "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "asgi", "NOLOOP"
            ])
            .await,
        "+OK "
    );
    tracker.call(&["SET", "asgi-mine", "1"]).await;
    let mut other = Client::connect(server.addr()).await;
    other.call(&["SET", "else", "1"]).await;
    other.call(&["ZADD", "asgislack.send", "1", "m"]).await;
    assert_eq!(
        tracker.reply().await,
        ">2 $10 invalidate *1 $14 asgislack.send "
    );
    server.shutdown().await;
}

#[tokio::test]
async fn dropping_the_server_closes_its_connections() {
    let server = server().await;
    let mut client = Client::connect(server.addr()).await;
    client.call(&["PING"]).await;
    drop(server);
    let closed = tokio::time::timeout(Duration::from_secs(10), client.reply()).await;
    assert_eq!(closed.as_deref(), Ok(""));
}
