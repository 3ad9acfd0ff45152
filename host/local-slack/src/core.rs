//! What all parts of the server share, and the one way by which a change becomes events.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use serde_json::Value;
use tokio::sync::broadcast;

use crate::access::Access;
use crate::journal::Journal;
use crate::rtm::{Sockets, Ticket};
use crate::workspace::{Audience, Event, Workspace};
use crate::{Options, lock, roster};

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) options: Options,
    pub(crate) addr: SocketAddr,
    pub(crate) token: String,
    pub(crate) workspace: Mutex<Workspace>,
    pub(crate) access: Mutex<Access>,
    pub(crate) journal: Journal,
    pub(crate) sockets: Sockets,
    pub(crate) tickets: Mutex<HashMap<String, Ticket>>,
    /// Every event, for the terminal.
    pub(crate) feed: broadcast::Sender<Value>,
}

impl Core {
    pub(crate) fn new(options: Options, addr: SocketAddr) -> Core {
        let token = options
            .token
            .clone()
            .unwrap_or_else(|| "xoxb-local-slack".to_owned());
        Core {
            addr,
            token,
            workspace: Mutex::new(roster::generate(&options)),
            access: Mutex::new(Access::new(options.token.clone())),
            journal: Journal::new(options.keep),
            sockets: Sockets::default(),
            tickets: Mutex::default(),
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
        let mut workspace = lock(&self.workspace);
        let result = change(&mut workspace);
        for event in std::mem::take(&mut workspace.events) {
            self.tell(&workspace, event);
        }
        result
    }

    fn tell(&self, workspace: &Workspace, event: Event) {
        let text = event.value.to_string();
        self.sockets.send_where(text.as_bytes(), |socket| {
            let asked = match event.audience {
                Audience::MembersBut(_, but) => but != socket.id,
                Audience::Watchers(user) => lock(&socket.watched).contains(&user),
                Audience::Members(_) | Audience::User(_) => true,
            };
            asked && workspace.sees(event.audience, socket.user)
        });
        // Without a terminal nobody listens, which is fine.
        self.feed.send(event.value).ok();
    }
}
