//! What all parts of the server share, and the one way by which a change becomes events.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::sync::broadcast;

use crate::delivery::{Deliveries, Tally, wrapper};
use crate::socket::{Protocol, Sockets, Ticket};
use crate::speakers::response_url::ResponseUrls;
use crate::speakers::web_api::views::Views;
use crate::state::access::Access;
use crate::state::files::Files;
use crate::state::journal::Journal;
use crate::state::roster;
use crate::state::workspace::{Audience, Event, Workspace};
use crate::{Options, lock};

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) options: Options,
    pub(crate) addr: SocketAddr,
    pub(crate) token: String,
    pub(crate) app_token: String,
    pub(crate) workspace: Mutex<Workspace>,
    pub(crate) access: Mutex<Access>,
    pub(crate) journal: Journal,
    pub(crate) sockets: Sockets,
    pub(crate) tickets: Mutex<HashMap<String, Ticket>>,
    /// What is given to the app through Socket Mode or HTTP.
    pub(crate) deliveries: Deliveries,
    pub(crate) response_urls: Mutex<ResponseUrls>,
    /// Dialogs that the app opened.
    pub(crate) views: Mutex<Views>,
    pub(crate) files: Mutex<Files>,
    /// Every event, for the terminal.
    pub(crate) feed: broadcast::Sender<Value>,
}

impl Core {
    pub(crate) fn new(options: Options, addr: SocketAddr) -> Core {
        let token = options
            .token
            .clone()
            .unwrap_or_else(|| "xoxb-local-slack".to_owned());
        let app_token = options
            .app_token
            .clone()
            .unwrap_or_else(|| "xapp-local-slack".to_owned());
        Core {
            addr,
            token,
            app_token,
            workspace: Mutex::new(roster::generate(&options)),
            access: Mutex::new(Access::new(&options)),
            journal: Journal::new(options.keep),
            sockets: Sockets::default(),
            tickets: Mutex::default(),
            deliveries: Deliveries::new(&options),
            response_urls: Mutex::default(),
            views: Mutex::default(),
            files: Mutex::default(),
            feed: broadcast::Sender::new(1024),
            options,
        }
    }

    /// A URL of this server.
    pub(crate) fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.addr)
    }

    /// Changes the workspace and tells connections of it, in the order of the changes.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Workspace) -> R) -> R {
        self.change_counted(None, change)
    }

    /// As [`Core::change`]; what the app is told is counted.
    pub(crate) fn change_counted<R>(
        &self,
        tally: Option<&Arc<Tally>>,
        change: impl FnOnce(&mut Workspace) -> R,
    ) -> R {
        let mut workspace = lock(&self.workspace);
        let result = change(&mut workspace);
        for event in std::mem::take(&mut workspace.events) {
            self.tell(&mut workspace, event, tally);
        }
        result
    }

    fn tell(&self, workspace: &mut Workspace, event: Event, tally: Option<&Arc<Tally>>) {
        let text = event.value.to_string();
        self.sockets.send_where(text.as_bytes(), |socket| {
            let Protocol::Rtm { watched, .. } = &socket.protocol else {
                return false;
            };
            let asked = match event.audience {
                Audience::MembersBut(_, but) => but != socket.id,
                Audience::Watchers(user) => lock(watched).contains(&user),
                Audience::Members(_) | Audience::User(_) => true,
            };
            asked && workspace.sees(event.audience, socket.user)
        });
        let given = match self.deliveries.has_app() {
            true => wrapper::given(workspace, &event, self.options.subscriptions.as_deref()),
            false => Vec::new(),
        };
        for event in given {
            let lane = event["channel"].as_str().unwrap_or_default().to_owned();
            let callback = wrapper::event_callback(workspace, event);
            self.deliveries
                .submit(self, callback.in_lane(lane), tally.cloned());
        }
        // Without a terminal nobody listens, which is fine.
        self.feed.send(event.value).ok();
    }
}
