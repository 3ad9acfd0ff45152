//! The layer on the embedded store, from within the process.

use std::sync::Arc;

use djangobot_channels::capacity::Capacities;
use djangobot_channels::{
    ChannelLayer, ChannelName, EmbeddedLayer, EmbeddedServer, GroupName, LayerError, LayerOptions,
    Member, Receiver, ReceiverId, ServerOptions,
};
use djangobot_event::Event;

use crate::client::Client;

async fn server() -> EmbeddedServer {
    EmbeddedServer::bind(([127, 0, 0, 1], 0).into())
        .await
        .unwrap()
}

fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

async fn receiver(layer: &EmbeddedLayer, channel: &ChannelName) -> Arc<dyn Receiver> {
    layer
        .receiver(channel, &ReceiverId("test".into()))
        .await
        .unwrap()
}

fn members(layer: &EmbeddedLayer, count: u32) -> Vec<Member> {
    (0..count)
        .map(|number| layer.seal(&number.to_be_bytes()))
        .collect()
}

/// The next payload, which [`members`] made.
async fn next(receiver: &Arc<dyn Receiver>) -> u32 {
    let delivery = receiver.next().await.unwrap();
    receiver.done(&delivery).await.unwrap();
    u32::from_be_bytes(delivery.payload.unwrap()[..].try_into().unwrap())
}

#[tokio::test]
async fn messages_come_in_the_order_in_which_they_were_sent() {
    let server = server().await;
    let layer = server.layer_with(LayerOptions {
        capacities: Capacities::new(1000),
        ..LayerOptions::default()
    });
    let to = channel("slack.send");
    for members in members(&layer, 1000).chunks(7) {
        let sent = layer.send(&to, members).await.unwrap();
        assert_eq!((sent.accepted, sent.receivers), (members.len(), None));
    }
    let reader = receiver(&layer, &to).await;
    for expect in 0..1000 {
        assert_eq!(next(&reader).await, expect);
    }
    assert_eq!(layer.depth(&to).await.unwrap(), Some(0));
}

#[tokio::test]
async fn a_full_channel_accepts_as_many_messages_as_it_has_room_for() {
    let server = server().await;
    let layer = server.layer();
    let to = channel("slack.send");
    let members = members(&layer, 120);
    assert_eq!(layer.send(&to, &members[..90]).await.unwrap().accepted, 90);
    // Sent again after a lost answer, they are there once.
    assert_eq!(layer.send(&to, &members[80..]).await.unwrap().accepted, 20);
    assert_eq!(layer.send(&to, &members[100..]).await.unwrap().accepted, 0);
    assert_eq!(layer.depth(&to).await.unwrap(), Some(100));
}

#[tokio::test]
async fn a_full_memory_is_not_reported_as_a_full_channel() {
    let options = ServerOptions {
        memory_limit: 20_000,
        ..ServerOptions::default()
    };
    let server = EmbeddedServer::bind_with(([127, 0, 0, 1], 0).into(), options)
        .await
        .unwrap();
    let layer = server.layer();
    let to = channel("slack.send");
    let sealed: Vec<Member> = (0..50).map(|_| layer.seal(&[b'x'; 1000])).collect();
    let accepted = layer.send(&to, &sealed).await.unwrap().accepted;
    assert!((1..50).contains(&accepted), "{accepted}");
    let refused = layer.send(&to, &sealed[accepted..]).await.unwrap_err();
    assert!(refused.is_temporary(), "{refused}");
    assert!(refused.to_string().contains("OOM"), "{refused}");
    let reader = receiver(&layer, &to).await;
    for _ in 0..2 {
        let delivery = reader.next().await.unwrap();
        reader.done(&delivery).await.unwrap();
    }
    let again = layer.send(&to, &sealed[accepted..]).await.unwrap();
    assert!(again.accepted > 0);
}

#[tokio::test]
async fn unfinished_messages_of_a_reader_come_again_in_their_order() {
    let server = server().await;
    let layer = server.layer();
    let to = channel("slack.send");
    layer.send(&to, &members(&layer, 4)).await.unwrap();
    for end in ["close", "drop"] {
        let reader = receiver(&layer, &to).await;
        let taken = [
            reader.next().await.unwrap(),
            reader.next().await.unwrap(),
            reader.next().await.unwrap(),
        ];
        assert_eq!(taken[0].redelivered, end == "drop");
        match end {
            "close" => reader.close().await.unwrap(),
            _ => {
                reader.done(&taken[1]).await.unwrap();
                drop(reader);
            }
        }
    }
    let reader = receiver(&layer, &to).await;
    assert_eq!(
        [
            next(&reader).await,
            next(&reader).await,
            next(&reader).await
        ],
        [0, 2, 3]
    );
    assert_eq!(layer.depth(&to).await.unwrap(), Some(0));
    reader.close().await.unwrap();
    assert!(matches!(reader.next().await, Err(LayerError::Closed)));
}

#[tokio::test]
async fn giving_up_on_the_next_message_loses_none() {
    let server = server().await;
    let layer = Arc::new(server.layer_with(LayerOptions {
        capacities: Capacities::new(9999),
        ..LayerOptions::default()
    }));
    let to = channel("slack.send");
    let sender = {
        let (layer, to) = (Arc::clone(&layer), to.clone());
        tokio::spawn(async move {
            for member in members(&layer, 500) {
                layer.send(&to, &[member]).await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    };
    let reader = receiver(&layer, &to).await;
    let mut seen = Vec::new();
    while seen.len() < 500 {
        // Which of the two is looked at first is left to chance: half of the waits are given up.
        tokio::select! {
            number = next(&reader) => seen.push(number),
            () = tokio::task::yield_now() => {}
        }
    }
    sender.await.unwrap();
    assert_eq!(seen, (0..500).collect::<Vec<_>>());
}

#[tokio::test]
async fn clients_of_the_server_and_the_layer_wake_each_other() {
    let server = server().await;
    let layer = server.layer();
    let (to, mut client) = (channel("slack.send"), Client::connect(server.addr()).await);
    let reader = receiver(&layer, &to).await;
    let waiting = tokio::spawn(async move { reader.next().await.unwrap().payload.unwrap() });
    client
        .call(&["ZADD", "asgislack.send", "1", "123456789012payload"])
        .await;
    assert_eq!(waiting.await.unwrap(), "payload");
    client.send(&["BZPOPMIN", "asgislack.send", "0"]).await;
    layer
        .send(&to, &[Member("123456789012back".into())])
        .await
        .unwrap();
    assert!(client.reply().await.contains("$16 123456789012back"));
}

#[tokio::test]
async fn a_group_passes_over_a_full_channel() {
    let server = server().await;
    let layer = server.layer_with(LayerOptions {
        capacities: Capacities::new(1),
        ..LayerOptions::default()
    });
    let (group, full, free) = (
        GroupName::new("g").unwrap(),
        channel("full"),
        channel("free"),
    );
    let gone = channel("gone");
    for channel in [&full, &free, &gone] {
        layer.group_add(&group, channel).await.unwrap();
    }
    layer.group_discard(&group, &gone).await.unwrap();
    layer.send(&full, &members(&layer, 1)).await.unwrap();
    layer
        .group_send(&group, &Event::parse(r#"{"type":"x"}"#).unwrap())
        .await
        .unwrap();
    let mut depths = Vec::new();
    for channel in [&full, &free, &gone] {
        depths.push(layer.depth(channel).await.unwrap());
    }
    assert_eq!(depths, [Some(1), Some(1), Some(0)]);
}

#[tokio::test]
async fn a_closed_layer_says_so() {
    let server = server().await;
    let layer = server.layer();
    let to = channel("slack.send");
    let reader = receiver(&layer, &to).await;
    layer.close().await;
    assert!(matches!(reader.next().await, Err(LayerError::Closed)));
    assert!(matches!(layer.ping().await, Err(LayerError::Closed)));
    assert!(matches!(
        layer.send(&to, &[]).await,
        Err(LayerError::Closed)
    ));
}
