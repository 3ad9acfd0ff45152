//! The parts of the server, and the one way by which a change becomes events.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use crate::delivery::{Deliveries, Tally, wrapper};
use crate::lock::lock;
use crate::options::Options;
use crate::socket::{Sockets, Surroundings};
use crate::state::access::Access;
use crate::state::address::Address;
use crate::state::connection::Protocol;
use crate::state::feed::Feed;
use crate::state::files::Files;
use crate::state::journal::Journal;
use crate::state::response_urls::ResponseUrls;
use crate::state::roster;
use crate::state::tickets::Tickets;
use crate::state::triggers::Triggers;
use crate::state::views::Views;
use crate::state::workspace::{Audience, Event, Workspace};

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) options: Options,
    pub(crate) address: Address,
    pub(crate) token: String,
    pub(crate) app_token: String,
    pub(crate) workspace: Mutex<Workspace>,
    pub(crate) access: Mutex<Access>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) sockets: Arc<Sockets>,
    pub(crate) tickets: Tickets,
    pub(crate) triggers: Triggers,
    /// The deliveries to the app through Socket Mode or HTTP.
    pub(crate) deliveries: Arc<Deliveries>,
    pub(crate) response_urls: ResponseUrls,
    /// Dialogs that the app opened.
    pub(crate) views: Mutex<Views>,
    pub(crate) files: Mutex<Files>,
    /// Every event, for the terminal.
    pub(crate) feed: Arc<Feed>,
}

impl Core {
    pub(crate) fn new(options: Options, addr: SocketAddr) -> Self {
        let token = options
            .token
            .clone()
            .unwrap_or_else(|| "xoxb-local-slack".to_owned());
        let app_token = options
            .app_token
            .clone()
            .unwrap_or_else(|| "xapp-local-slack".to_owned());
        let (journal, sockets, feed) = (
            Arc::new(Journal::new(options.keep)),
            Arc::default(),
            Arc::default(),
        );
        let deliveries = Deliveries::new(
            &options,
            Arc::clone(&journal),
            Arc::clone(&sockets),
            Arc::clone(&feed),
        );
        Self {
            address: Address(addr),
            token,
            app_token,
            workspace: Mutex::new(roster::generate(&options)),
            access: Mutex::new(Access::new(&options)),
            journal,
            sockets,
            tickets: Tickets::new(options.url_lifetime),
            triggers: Triggers::default(),
            deliveries: Arc::new(deliveries),
            response_urls: ResponseUrls::default(),
            views: Mutex::default(),
            files: Mutex::default(),
            feed,
            options,
        }
    }

    /// The parts that a socket needs while it is served.
    pub(crate) fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            sockets: &self.sockets,
            journal: &self.journal,
            ping_interval: self.options.ping_interval,
        }
    }

    /// Changes the workspace and sends the events to connections and the app, in the order of the changes.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Workspace) -> R) -> R {
        self.change_counted(None, change)
    }

    /// As [`Core::change`]; deliveries to the app are counted.
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
                .submit(callback.in_lane(lane), tally.cloned());
        }
        self.feed.event(event.value);
    }
}
