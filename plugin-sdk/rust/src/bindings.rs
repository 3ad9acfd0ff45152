//! What `wit-bindgen` makes of `wit/plugin.wit`: the types that the rest of this crate offers, the calls of the host,
//! and the two macros behind [`export!`](crate::export!).
//!
//! On other targets than WebAssembly the types are the same, and the calls lead nowhere: `host` has others there.
#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "djangobot:plugin/plugin",
    additional_derives: [PartialEq],
    pub_export_macro: true,
    export_macro_name: "export_handler",
    default_bindings_module: "djangobot_plugin::bindings",
});

/// The exports of a plugin that hands its state on. They are a world of their own, because what a world exports must
/// be there: a component's worlds are added up.
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
