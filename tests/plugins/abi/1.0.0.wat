;; A plugin of djangobot:plugin@1.0.0, as a core module against the canonical ABI: it sets /abi to "1.0.0" and copies
;; /text to /copy.
(module
  (import "djangobot:plugin/event@1.0.0" "get" (func $get (param i32 i32 i32)))
  (import "djangobot:plugin/log@1.0.0" "write" (func $log (param i32 i32 i32)))
  (import "djangobot:plugin/clock@1.0.0" "now-ms" (func $now (result i64)))
  (memory (export "memory") 2)
  (global $top (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  ;; result<_, string>: the tag 0, which is ok.
  (func (export "djangobot:plugin/handler@1.0.0#init") (param i32 i32) (result i32)
    (call $log (i32.const 1) (i32.const 64) (i32.const 5))
    (i32.const 16))
  (func (export "djangobot:plugin/handler@1.0.0#on-event") (result i32)
    ;; Memory that an event's texts came in is used again for the next.
    (global.set $top (i32.const 65536))
    ;; option<value> at 256: the option's tag, at 264 the value's, at 272 its text.
    (call $get (i32.const 80) (i32.const 5) (i32.const 256))
    (if (i64.eqz (call $now)) (then unreachable))
    (if (i32.eqz (i32.load8_u (i32.const 256))) (then unreachable))
    (if (i32.ne (i32.load8_u (i32.const 264)) (i32.const 5)) (then unreachable))
    ;; The second edit's text is the one that was got.
    (i32.store (i32.const 184) (i32.load (i32.const 272)))
    (i32.store (i32.const 188) (i32.load (i32.const 276)))
    (i32.const 32))
  ;; result<verdict, string> at 32: ok, modify, two edits at 128.
  (data (i32.const 32) "\00\00\00\00\01\00\00\00\80\00\00\00\02\00\00\00")
  (data (i32.const 64) "1.0.0")
  (data (i32.const 72) "/abi")
  (data (i32.const 80) "/text")
  (data (i32.const 88) "/copy")
  ;; Each edit: set, its pointer's place and length, the value's tag for a text, its place and length.
  (data (i32.const 128)
    "\00\00\00\00\00\00\00\00\48\00\00\00\04\00\00\00\05\00\00\00\00\00\00\00\40\00\00\00\05\00\00\00"
    "\00\00\00\00\00\00\00\00\58\00\00\00\05\00\00\00\05\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00"))
