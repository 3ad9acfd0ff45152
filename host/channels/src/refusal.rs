//! Which kind of error a server answered: whether waiting helps, and whose fault it is.

/// Why a server refused a request. Each kind has a cure of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// It wants a password, or another one (`NOAUTH`, `WRONGPASS`).
    Credentials,
    /// Our user may not run a command or touch a key (`NOPERM`).
    Permission,
    /// It does not know a command: it was renamed or disabled, or this is a Sentinel or a proxy.
    UnknownCommand,
    /// It is a replica (`READONLY`).
    ReadOnly,
    /// It is a member of a cluster, and the keys lie elsewhere (`MOVED`, `ASK`, `CROSSSLOT`).
    Cluster,
    /// It has too few replicas (`NOREPLICAS`).
    Replicas,
    /// Its memory is full (`OOM`).
    Memory,
    /// It can't write its own disk (`MISCONF`).
    Disk,
    /// It is loading, busy, or has too many clients: it says itself that this passes.
    Busy,
    /// Another program uses the key for something else (`WRONGTYPE`).
    WrongType,
    /// It was not asked: our own settings can't be used, a certificate's file for instance.
    Settings,
    /// It refused this one request, as one that is too large.
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

    /// Whether the content of the request may be what is refused. All other kinds refuse any request.
    pub fn is_about_content(self) -> bool {
        self == Self::Request
    }
}
