//! The code that `wit-bindgen` generates from `wit/plugin.wit`: the types that this crate re-exports, the calls of the
//! host, and the two macros behind [`export!`](crate::export!).
//!
//! On other targets than WebAssembly the types are the same, and the calls can't be linked: the module `host` has
//! others for them.
#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "djangobot:plugin/plugin",
    additional_derives: [PartialEq],
    pub_export_macro: true,
    export_macro_name: "export_handler",
    default_bindings_module: "djangobot_plugin::bindings",
});

/// The exports of a plugin with a lifecycle. They are a world of their own, because a component must have all exports
/// of its world. A component may have several worlds, which are merged.
pub mod stateful {
    wit_bindgen::generate!({
        inline: "
            package djangobot:rust-sdk;
            world lifecycle { export djangobot:plugin/lifecycle@1.0.0; }
        ",
        path: "../../wit",
        world: "djangobot:rust-sdk/lifecycle",
        pub_export_macro: true,
        export_macro_name: "export_lifecycle",
        default_bindings_module: "djangobot_plugin::bindings::stateful",
    });
}
