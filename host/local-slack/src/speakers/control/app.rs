//! The app's side: events, commands and interactions for it, its acknowledgements, and faults.

use serde_json::{Value, json};

use crate::delivery::http::{AppResponse, Content, Line, RequestError, Target};
use crate::delivery::wrapper::{Interaction, SlashCommand};
use crate::delivery::{Answerer, Delivery, Parcel, wrapper};
use crate::fault::{Fault, Reason};
use crate::lock::lock;
use crate::socket;
use crate::speakers::control::handle::{Control, ControlError, find_conversation, find_user};
use crate::state::connection::ConnectionId;
use crate::state::response_urls::Place;
use crate::state::ts::Ts;

/// Interactions that the app may answer in its acknowledgement.
const ANSWERABLE: [&str; 2] = ["view_submission", "block_suggestion"];

/// The app's answer to a request that is not a delivery.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct AppReply {
    /// The HTTP status; `None` where there was no answer.
    pub status: Option<u16>,
    /// The answer's body.
    pub body: String,
    /// Why there was none: `http_timeout` or `connection_failed`.
    pub failed: Option<&'static str>,
}

impl AppReply {
    fn of(answer: Result<AppResponse, RequestError>) -> Self {
        match answer {
            Ok(answer) => AppReply {
                status: Some(answer.status),
                body: String::from_utf8_lossy(&answer.body).into_owned(),
                failed: None,
            },
            Err(refused) => AppReply {
                status: None,
                body: String::new(),
                failed: Some(refused.reason()),
            },
        }
    }
}

/// The app, through Socket Mode or HTTP. Functions that begin a delivery return its number.
impl Control {
    /// Delivers any event to the app, in Slack's wrapper. It does not go to sockets of RTM.
    pub fn event(&self, event: &Value) -> u64 {
        let parcel = {
            let mut workspace = lock(&self.core.workspace);
            wrapper::event_callback(&mut workspace, event.clone())
        };
        let lane = event["channel"].as_str().unwrap_or_default();
        self.submit(parcel.in_lane(lane.to_owned()))
    }

    /// Delivers any envelope to the app: its type and its payload, as they are. Over HTTP the payload is the body.
    pub fn envelope(&self, kind: &str, payload: &Value, accepts_response: bool) -> u64 {
        self.submit(Parcel::new(kind.to_owned(), payload).answerable(accepts_response))
    }

    /// Lets a user type a slash command, such as `/deploy`, in a conversation.
    ///
    /// # Errors
    /// When there is no such user or conversation.
    pub fn slash(
        &self,
        user: &str,
        channel: &str,
        command: &str,
        text: &str,
    ) -> Result<u64, ControlError> {
        let place = self.place(user, channel)?;
        let id = self.core.response_urls.make(place);
        let trigger = self.core.triggers.make();
        let payload = {
            let url = self.response_url(&id);
            let workspace = lock(&self.core.workspace);
            let slash = SlashCommand {
                user: place.user,
                conversation: place.conversation,
                command,
                text,
                response_url: &url,
                trigger_id: &trigger,
            };
            wrapper::slash_command(&workspace, &slash)
        };
        let answerer = Answerer {
            what: command.to_owned(),
            response_url: Some(id),
        };
        let parcel = Parcel::new("slash_commands", &payload).answerable(true);
        Ok(self.submit(parcel.answered_to(answerer).in_lane(trigger)))
    }

    /// Lets a user click, submit or look something up: `payload` has the interaction's `type`, such as `block_actions`,
    /// and its subject. The fields that all interactions have are added where they are missing: the user, the team, a
    /// trigger, and with a conversation its id and a response URL. The `response_urls` of a submitted view get their
    /// URLs, each for the conversation of its `channel_id`.
    ///
    /// # Errors
    /// When there is no such user or conversation, or `payload` is not an object.
    pub fn interact(
        &self,
        user: &str,
        channel: Option<&str>,
        payload: &Value,
    ) -> Result<u64, ControlError> {
        let given = payload.as_object().ok_or(ControlError::Payload)?;
        let message = payload["container"]["message_ts"].as_str();
        let message = message.or_else(|| payload["message"]["ts"].as_str());
        let message = message.or_else(|| payload["message_ts"].as_str());
        let (user, place) = match channel {
            Some(channel) => {
                let place = Place {
                    message: message.and_then(Ts::parse),
                    ..self.place(user, channel)?
                };
                (place.user, Some(place))
            }
            None => (find_user(&lock(&self.core.workspace), user)?, None),
        };
        let id = place.map(|place| self.core.response_urls.make(place));
        let url = id.as_deref().map(|id| self.response_url(id));
        let trigger = self.core.triggers.make();
        let mut payload = {
            let workspace = lock(&self.core.workspace);
            let interaction = Interaction {
                user,
                conversation: place.map(|place| place.conversation),
                response_url: url.as_deref(),
                trigger_id: &trigger,
            };
            wrapper::interaction(&workspace, &interaction, given)
        };
        // An index would insert a null where there is no such key, and Bolt fails at a null.
        let chosen = payload.get_mut("response_urls");
        for chosen in chosen.and_then(Value::as_array_mut).into_iter().flatten() {
            let channel = chosen["channel_id"].as_str().unwrap_or_default();
            let conversation = find_conversation(&mut lock(&self.core.workspace), user, channel)?;
            let place = Place {
                user,
                conversation,
                message: None,
            };
            let id = self.core.response_urls.make(place);
            chosen["response_url"] = json!(self.response_url(&id));
        }
        let kind = payload["type"].as_str().unwrap_or_default();
        let answerer = Answerer {
            what: kind.to_owned(),
            // The answer in such an acknowledgement is for Slack, not for the conversation.
            response_url: None,
        };
        let parcel = Parcel::new("interactive", &payload).answerable(ANSWERABLE.contains(&kind));
        Ok(self.submit(parcel.answered_to(answerer).in_lane(trigger)))
    }

    /// Tells the app that it got too many events in a minute.
    pub fn app_rate_limited(&self) -> u64 {
        let parcel = wrapper::app_rate_limited(&lock(&self.core.workspace));
        self.submit(parcel)
    }

    /// The deliveries to the app, oldest first, without generated traffic.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.core.deliveries.records.all()
    }

    /// Gives up all deliveries that are not acknowledged, as Slack does after some six minutes; returns their payloads.
    pub fn give_up(&self) -> Vec<Value> {
        let parcels = self.core.deliveries.give_up_all();
        let payloads = parcels.iter();
        payloads
            .map(|parcel| serde_json::from_slice(&parcel.payload).unwrap_or_default())
            .collect()
    }

    /// Waits until a delivery is acknowledged or given up.
    pub async fn settled(&self, number: u64) -> Delivery {
        let look = || self.core.deliveries.records.settled(number);
        self.core.journal.wait(look).await
    }

    /// Waits for a delivery that `wanted` accepts.
    pub async fn wait_for_delivery(&self, wanted: impl Fn(&Delivery) -> bool) -> Delivery {
        let look = || self.deliveries().into_iter().find(|one| wanted(one));
        self.core.journal.wait(look).await
    }

    /// Forgets the records of deliveries; the deliveries themselves go on.
    pub fn clear_deliveries(&self) {
        self.core.deliveries.records.clear();
    }

    /// How many acknowledgements came that nothing waited for: late, repeated, of unknown envelopes, or dropped because
    /// they were of 20 KB or more or in several frames.
    pub fn stray_acks(&self) -> u64 {
        self.core.deliveries.stray_acks()
    }

    /// Sets where requests go, or with `None` has the app get all through Socket Mode.
    ///
    /// # Errors
    /// When the URL leads off this machine.
    pub fn set_events_url(&self, url: Option<&str>) -> Result<(), ControlError> {
        let target = url
            .map(|url| Target::read(url).ok_or_else(|| ControlError::EventsUrl(url.to_owned())))
            .transpose()?;
        self.core.deliveries.http.endpoint.aim(target);
        Ok(())
    }

    /// Asks the app to echo a challenge, as Slack does when somebody enters its URL; whether it did.
    pub async fn verify_url(&self) -> (bool, AppReply) {
        let challenge = format!("{:032x}", rand::random::<u128>());
        let body = json!({"token": wrapper::VERIFICATION_TOKEN, "challenge": challenge, "type": "url_verification"});
        let posted = self.post(Content::json(body.to_string().into())).await;
        let echoed = match serde_json::from_str::<Value>(&posted.body) {
            Ok(answer) => answer["challenge"] == challenge.as_str(),
            // Plain text is allowed as well as JSON and a form.
            Err(_) => {
                let plain = posted.body.trim();
                plain.strip_prefix("challenge=").unwrap_or(plain) == challenge
            }
        };
        (echoed && posted.status == Some(200), posted)
    }

    /// Asks for the app's certificate, as Slack does now and then; the app only has to answer.
    pub async fn ssl_check(&self) -> AppReply {
        let fields = [("ssl_check", "1"), ("token", wrapper::VERIFICATION_TOKEN)];
        self.post(Content::form(&fields)).await
    }

    async fn post(&self, content: Content) -> AppReply {
        let endpoint = &self.core.deliveries.http.endpoint;
        AppReply::of(Line::default().post(endpoint, &content, None).await)
    }

    fn submit(&self, parcel: Parcel) -> u64 {
        self.core.deliveries.submit(parcel, None)
    }

    /// The whole response URL of which this is the last part.
    fn response_url(&self, id: &str) -> String {
        self.core.address.url("http", &format!("/response/{id}"))
    }

    fn place(&self, user: &str, channel: &str) -> Result<Place, ControlError> {
        self.core.change(|workspace| {
            let user = find_user(workspace, user)?;
            Ok(Place {
                user,
                conversation: find_conversation(workspace, user, channel)?,
                message: None,
            })
        })
    }
}

/// Faults in deliveries to the app.
impl Control {
    /// Turns a fault on, behind those that are on.
    pub fn fault(&self, fault: Fault) {
        lock(&self.core.deliveries.faults).add(fault);
    }

    /// The faults that are on, with what is left of them to spare.
    pub fn faults(&self) -> Vec<Fault> {
        lock(&self.core.deliveries.faults).all()
    }

    /// Turns all faults off.
    pub fn clear_faults(&self) {
        lock(&self.core.deliveries.faults).clear();
    }

    /// Says `disconnect` on all connections of Socket Mode, or on one, and closes them, in time; how many.
    pub fn disconnect(&self, which: Option<ConnectionId>, reason: Reason) -> usize {
        let sockets = self.core.sockets.get(which);
        let sockets = sockets.iter().filter(|socket| socket.is_in_socket_mode());
        let warning_time = self.core.options.warning_time;
        sockets
            .map(|socket| socket::disconnect(socket, reason, warning_time))
            .count()
    }
}
