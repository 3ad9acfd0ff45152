//! A conversation of one client with a server of its own, without sockets, for the fuzz targets.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::{Bytes, BytesMut};
use tokio_util::sync::CancellationToken;

use crate::embedded::clients::Clients;
use crate::embedded::command::context::Session;
use crate::embedded::command::{self};
use crate::embedded::options::{LayerOptions, ServerOptions};
use crate::embedded::resp::{Reply, RequestReader};
use crate::embedded::state::SharedState;

/// The requests in `sent`, which arrives in pieces of `piece` bytes, and the error that ends them, if one does.
pub fn requests(sent: &[u8], piece: usize, trusted: bool) -> (Vec<Vec<Bytes>>, Option<String>) {
    let mut reader = RequestReader::default();
    let mut input = BytesMut::new();
    let mut requests = Vec::new();
    for piece in sent.chunks(piece.max(1)) {
        input.extend_from_slice(piece);
        loop {
            match reader.next(&mut input, trusted) {
                Ok(Some(request)) => requests.push(request.words),
                Ok(None) => break,
                Err(error) => return (requests, Some(error.to_string())),
            }
        }
    }
    (requests, None)
}

/// All answers of a server that may hold about `memory` bytes. A command that would wait for an item gets none at once.
pub fn answers(sent: &[u8], memory: usize, password: Option<&str>) -> Bytes {
    let clients = Clients::new(1, memory);
    let options = ServerOptions {
        memory_limit: memory,
        password: password.map(str::to_owned),
        layer: Some(LayerOptions::default()),
        ..ServerOptions::default()
    };
    let shared = SharedState::new(&options, clients);
    let mut state = shared.lock();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let kill = CancellationToken::new();
    let Some(handle) = state.clients.connect(address, kill) else {
        return Bytes::new();
    };
    let id = handle.id;
    let mut session = Session::new(id, password.is_none());
    let mut reader = RequestReader::default();
    let (mut input, mut output) = (BytesMut::from(sent), BytesMut::new());
    while !session.closing {
        let reply = match reader.next(&mut input, session.authenticated) {
            Ok(Some(request)) => {
                state.clients.take_pushes(id, &mut output);
                command::execute(&mut state, &mut session, &request)
            }
            Ok(None) => break,
            Err(error) => {
                session.closing = true;
                Reply::Error(error.to_string())
            }
        };
        reply.write(session.protocol, &mut output);
        if session.wait.take().is_some() {
            Reply::NullArray.write(session.protocol, &mut output);
        }
        // The answer is written, so the items belong to the client.
        session.unwritten.clear();
    }
    state.clients.take_pushes(id, &mut output);
    output.freeze()
}
