//! The worker tasks of deliveries: they do the work that is due, and post requests.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::delivery::http::{Content, LANES, Line, PostOutcome, post_and_leave};
use crate::delivery::pending::Pending;
use crate::delivery::{AppAnswer, Deliveries};
use crate::fault::{Happening, Occasion};
use crate::lock::lock;

/// By so much the next one in the lane overtakes one that is to be reordered.
const OVERTAKEN_BY: Duration = Duration::from_millis(20);

/// Does the work that is due, for as long as the server runs; `answered` gets the app's answers.
pub(crate) async fn run(
    deliveries: Arc<Deliveries>,
    answered: impl Fn(AppAnswer) + Clone + Send + Sync + 'static,
) {
    let mut workers = JoinSet::new();
    for lane in 0..LANES {
        let (deliveries, answered) = (Arc::clone(&deliveries), answered.clone());
        workers.spawn(async move { work(&deliveries, lane, &answered).await });
    }
    loop {
        let tick = deliveries.tick();
        tick.answers.into_iter().for_each(&answered);
        let due = async {
            match tick.next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = deliveries.wake.notified() => {}
        }
    }
}

/// Posts the parcels of a lane, for as long as the server runs.
async fn work(deliveries: &Deliveries, lane: usize, answered: &(impl Fn(AppAnswer) + Sync)) {
    let mut line = Line::default();
    loop {
        let pending = deliveries.http.next(lane).await;
        if let Some(answer) = carry(deliveries, &mut line, pending).await {
            answered(answer);
        }
        deliveries.http.done();
    }
}

async fn carry(
    deliveries: &Deliveries,
    line: &mut Line,
    mut pending: Pending,
) -> Option<AppAnswer> {
    let endpoint = &deliveries.http.endpoint;
    let befell = match pending.was_delayed {
        true => None,
        false => lock(&deliveries.faults).draw(Occasion::Send),
    };
    let delay = match befell {
        Some(Happening::Delay { ms }) => Some(Duration::from_millis(ms)),
        Some(Happening::Reorder) => Some(OVERTAKEN_BY),
        _ => None,
    };
    if let Some(delay) = delay {
        pending.was_delayed = true;
        deliveries.post_later(pending, delay);
        return None;
    }
    deliveries.posting(&mut pending);
    let lost = || PostOutcome::Failed {
        reason: "http_timeout",
        status: None,
        again: true,
    };
    let mut content = Content::of(&pending.parcel);
    let retry = (pending.retry > 0).then_some((pending.retry, pending.reason));
    let outcome = match befell {
        Some(Happening::Lose) => lost(),
        Some(Happening::Drop) => {
            post_and_leave(endpoint, &content, retry).await;
            lost()
        }
        _ => {
            if befell == Some(Happening::Garble) {
                content = content.broken_off();
            }
            let twice = befell == Some(Happening::Duplicate);
            if twice {
                Deliveries::note_duplicate(&pending);
                // The outcome of the first of two does not matter.
                line.post(endpoint, &content, retry).await.ok();
            }
            let answered = line.post(endpoint, &content, retry).await;
            let ack = lock(&deliveries.faults).draw(Occasion::Ack);
            match (answered, befell, ack) {
                (_, Some(Happening::Freeze { .. }), _) | (Ok(_), _, Some(_)) => lost(),
                (answered, ..) => PostOutcome::of(answered),
            }
        }
    };
    deliveries.posted(pending, outcome)
}
