//! The outcomes of acknowledgements, for all that may be done with them.

use std::time::Duration;

use super::*;

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(3)
}

fn envelope(accepts_payload: bool) -> (Ack, mpsc::UnboundedReceiver<SocketAck>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let ack = Ack::of_envelope("E\"1".into(), accepts_payload, deadline(), sender);
    (ack, receiver)
}

/// The only thing that the connection hears.
fn told(mut connection: mpsc::UnboundedReceiver<SocketAck>) -> SocketAck {
    let told = connection.try_recv().unwrap();
    assert!(connection.try_recv().is_err(), "it hears it once");
    told
}

#[tokio::test]
async fn the_receiver_learns_how_the_acknowledgement_ended() {
    let (ack, waiting) = Ack::new(true, deadline());
    ack.confirm();
    assert_eq!(waiting.given().await, AckOutcome::Empty);

    let (ack, waiting) = Ack::new(true, deadline());
    assert_eq!(ack.answer(r#"{"text":"é"}"#.into()), Ok(()));
    assert_eq!(
        waiting.given().await,
        AckOutcome::Answer(r#"{"text":"é"}"#.into())
    );

    let (ack, waiting) = Ack::new(true, deadline());
    drop(ack);
    assert_eq!(waiting.given().await, AckOutcome::Unused);
}

#[tokio::test]
async fn a_refused_answer_leaves_an_empty_acknowledgement() {
    let check = async |accepts, payload: &'static [u8], expect: fn(&AnswerError) -> bool| {
        let (ack, waiting) = Ack::new(accepts, deadline());
        let error = ack.answer(payload.into()).unwrap_err();
        assert!(expect(&error), "{error}");
        assert_eq!(waiting.given().await, AckOutcome::Empty, "{error}");
    };
    check(false, b"{}", |error| *error == AnswerError::NotAccepted).await;
    for rubbish in [&b"{"[..], b"", b"{} {}", b"{\"a\":\"\xff\"}", b"{'a':1}"] {
        check(true, rubbish, |error| {
            matches!(error, AnswerError::NotJson(_))
        })
        .await;
    }
}

#[test]
fn the_frame_of_an_envelope_names_it_and_carries_the_answer() {
    let (ack, connection) = envelope(false);
    ack.confirm();
    assert_eq!(
        told(connection),
        SocketAck::Frame(r#"{"envelope_id":"E\"1"}"#.into())
    );

    let (ack, connection) = envelope(true);
    ack.answer(r#"{"text":"é"}"#.into()).unwrap();
    assert_eq!(
        told(connection),
        SocketAck::Frame(r#"{"envelope_id":"E\"1","payload":{"text":"é"}}"#.into())
    );

    let (ack, connection) = envelope(true);
    drop(ack);
    assert_eq!(told(connection), SocketAck::Unused);
}

#[test]
fn an_answer_that_slack_would_drop_is_refused_by_the_length_of_its_whole_frame() {
    let beside = frame_with("E\"1", Some(b"\"\"")).len();
    for (length, fits) in [
        (SOCKET_MODE_LIMIT - 1, true),
        (SOCKET_MODE_LIMIT, false),
        (1_000_000, false),
    ] {
        let (ack, connection) = envelope(true);
        let payload = format!("\"{}\"", "x".repeat(length - beside));
        let expect = if fits {
            Ok(())
        } else {
            Err(AnswerError::TooLarge { length })
        };
        assert_eq!(ack.answer(payload.into()), expect);
        match told(connection) {
            SocketAck::Frame(frame) if fits => assert_eq!(frame.len(), length),
            told => assert_eq!(told, SocketAck::Frame(frame("E\"1"))),
        }
    }
}

#[test]
fn an_answer_that_nobody_waits_for_is_an_error_and_a_confirmation_is_not() {
    let (ack, waiting) = Ack::new(true, deadline());
    drop(waiting);
    assert_eq!(ack.answer("{}".into()), Err(AnswerError::TooLate));
    let (ack, connection) = envelope(true);
    drop(connection);
    assert_eq!(ack.answer("{}".into()), Err(AnswerError::TooLate));
    let (ack, connection) = envelope(true);
    drop(connection);
    ack.confirm();
}
