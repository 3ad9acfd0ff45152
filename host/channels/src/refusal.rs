//! The kinds of errors that a server answers. The kind says whether waiting helps, and what the cure is.

/// The reason why a server refused a request. Each kind has its own cure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// The server requires a password, or another one (`NOAUTH`, `WRONGPASS`).
    Credentials,
    /// Our user may not run a command or use a key (`NOPERM`).
    Permission,
    /// The server does not know a command: it was renamed or disabled, or this is a Sentinel or a proxy.
    UnknownCommand,
    /// The server is a replica (`READONLY`).
    ReadOnly,
    /// The server is a node of a Redis Cluster, and the keys belong to another node (`MOVED`, `ASK`, `CROSSSLOT`).
    Cluster,
    /// The server has too few replicas (`NOREPLICAS`).
    Replicas,
    /// The server's memory is full (`OOM`).
    Memory,
    /// The server can't write its own disk (`MISCONF`).
    Disk,
    /// The server is loading, busy, or has too many clients. All of these pass.
    Busy,
    /// Another program has stored a value of another kind under the key (`WRONGTYPE`).
    WrongType,
    /// The server was not asked, because our own settings can't be used.
    Settings,
    /// The server refused this one request, because of its size for instance.
    Request,
}

impl RefusalKind {
    /// Whether the same request may succeed later with nothing changed on our side.
    pub fn may_pass(self) -> bool {
        matches!(
            self,
            Self::ReadOnly | Self::Replicas | Self::Memory | Self::Disk | Self::Busy
        )
    }

    /// Whether the refusal may be about the content of the request. The other kinds refuse any request.
    pub fn is_about_content(self) -> bool {
        self == Self::Request
    }
}
