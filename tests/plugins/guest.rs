//! Guests for tests: core modules written against the canonical ABI of `djangobot:plugin@1.0.0`.

/// The address of a guest's constant data.
const DATA: usize = 1024;
/// The address from which a guest allocates memory.
const HEAP: usize = 60_000;

/// A builder of a guest: the bodies of its functions, in WAT.
#[derive(Clone)]
pub(crate) struct Guest {
    pub(crate) version: &'static str,
    pub(crate) imports: String,
    /// The body of `init`, which leaves the address of its result on the stack.
    pub(crate) init: String,
    /// Code of `on-event` before its answer.
    pub(crate) before_answer: String,
    /// The end of `on-event`, which leaves the address of its answer on the stack.
    pub(crate) on_event: String,
    /// More fields of the module.
    pub(crate) fields: String,
    /// The body of `cabi_realloc`, if it is another than the usual one.
    pub(crate) realloc: String,
    pub(crate) data: Data,
}

/// Constant data in the layout of the canonical ABI.
#[derive(Clone, Default)]
pub(crate) struct Data(Vec<u8>);

/// The value of an edit.
#[derive(Clone, Copy)]
pub(crate) enum Put<'a> {
    Text(&'a str),
    Json(&'a str),
    Number(f64),
    BigInteger(&'a str),
    Remove,
}

const OK: &str = "(i32.const 16)";

impl Guest {
    /// A guest that keeps every event.
    pub(crate) fn new() -> Self {
        let realloc = "(local $at i32)
            (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
            (global.set $top (i32.add (local.get $at) (local.get 3)))
            (block $fits (loop $more
              (br_if $fits (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
              (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
              (br $more)))
            (local.get $at)";
        Self {
            version: "1.0.0",
            imports: String::new(),
            init: OK.into(),
            before_answer: String::new(),
            on_event: OK.into(),
            fields: String::new(),
            realloc: realloc.into(),
            data: Data::default(),
        }
    }

    pub(crate) fn init(mut self, init: &str) -> Self {
        self.init = init.into();
        self
    }

    pub(crate) fn on_event(mut self, on_event: &str) -> Self {
        self.on_event = on_event.into();
        self
    }

    pub(crate) fn fields(mut self, fields: &str) -> Self {
        self.fields.push_str(fields);
        self
    }

    pub(crate) fn imports(mut self, imports: &str) -> Self {
        self.imports.push_str(imports);
        self
    }

    /// Answers each event with the value that `lay` lays out.
    pub(crate) fn answers(mut self, lay: impl FnOnce(&mut Data) -> usize) -> Self {
        let at = lay(&mut self.data);
        self.on_event = format!("(i32.const {at})");
        self
    }

    /// Marks each event by setting `/NAME` to `text`.
    pub(crate) fn marks(name: &str, text: &str) -> Self {
        let pointer = format!("/{name}");
        Self::new().answers(|data| data.edits(&[(&pointer, Put::Text(text))]))
    }

    /// The module.
    pub(crate) fn wasm(&self) -> Vec<u8> {
        let data: String = self
            .data
            .0
            .iter()
            .map(|byte| format!("\\{byte:02x}"))
            .collect();
        let pages = (HEAP.max(DATA + self.data.0.len()) + 4096) / 65536 + 1;
        let (version, imports, fields) = (self.version, &self.imports, &self.fields);
        let (init, on_event, realloc) = (&self.init, &self.on_event, &self.realloc);
        let before_answer = &self.before_answer;
        let top = HEAP.max(DATA + self.data.0.len() + 8);
        let text = format!(
            r#"(module
              {imports}
              (memory (export "memory") {pages})
              (global $top (mut i32) (i32.const {top}))
              (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
              (func (export "djangobot:plugin/handler@{version}#init") (param i32 i32) (result i32) {init})
              (func (export "djangobot:plugin/handler@{version}#on-event") (result i32)
                (local $n i32)
                {before_answer}
                {on_event})
              {fields}
              (data (i32.const {DATA}) "{data}"))"#
        );
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }
}

impl Data {
    /// Adds bytes, and returns their address.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> usize {
        while !self.0.len().is_multiple_of(8) {
            self.0.push(0);
        }
        let at = DATA + self.0.len();
        self.0.extend_from_slice(bytes);
        at
    }

    /// The address of bytes that were added.
    pub(crate) fn find(&self, bytes: &[u8]) -> usize {
        let at = self
            .0
            .windows(bytes.len())
            .position(|window| window == bytes);
        DATA + at.expect("they were put down")
    }

    pub(crate) fn words(&mut self, words: &[usize]) -> usize {
        let bytes: Vec<u8> = words
            .iter()
            .flat_map(|word| (*word as u32).to_le_bytes())
            .collect();
        self.put(&bytes)
    }

    /// Adds a `result` that is an error with this text.
    pub(crate) fn error(&mut self, text: &[u8]) -> usize {
        let at = self.put(text);
        self.words(&[1, at, text.len()])
    }

    /// Adds a verdict that drops the event.
    pub(crate) fn drops(&mut self, reason: &[u8]) -> usize {
        let at = self.put(reason);
        self.words(&[0, 2, at, reason.len()])
    }

    /// Adds a verdict that answers the event.
    pub(crate) fn answers_with(&mut self, message: &str) -> usize {
        let at = self.put(message.as_bytes());
        self.words(&[0, 4, at, message.len()])
    }

    /// Adds a verdict that defers the event.
    pub(crate) fn defers(&mut self, ms: usize) -> usize {
        self.words(&[0, 5, ms, 0])
    }

    /// Adds a verdict with edits.
    pub(crate) fn edits(&mut self, edits: &[(&str, Put<'_>)]) -> usize {
        let mut list = Vec::new();
        for (pointer, put) in edits {
            let at = self.put(pointer.as_bytes());
            let (kind, value, number) = match put {
                Put::Text(text) => (5, Some(*text), 0.0),
                Put::Json(text) => (6, Some(*text), 0.0),
                Put::Number(number) => (4, None, *number),
                Put::BigInteger(digits) => (3, Some(*digits), 0.0),
                Put::Remove => (0, None, 0.0),
            };
            let (value, length) =
                value.map_or((0, 0), |text| (self.put(text.as_bytes()), text.len()));
            let removes = matches!(put, Put::Remove);
            for word in [usize::from(removes), 0, at, pointer.len(), kind, 0] {
                list.extend_from_slice(&(word as u32).to_le_bytes());
            }
            match put {
                Put::Number(_) => list.extend_from_slice(&number.to_le_bytes()),
                _ => {
                    list.extend_from_slice(&(value as u32).to_le_bytes());
                    list.extend_from_slice(&(length as u32).to_le_bytes());
                }
            }
        }
        let at = self.put(&list);
        self.edits_at(at, edits.len())
    }

    /// Adds a verdict with `count` edits, which lie at `at`.
    pub(crate) fn edits_at(&mut self, at: usize, count: usize) -> usize {
        self.words(&[0, 1, at, count])
    }

    /// Adds a verdict that replaces the event.
    pub(crate) fn replaces(&mut self, emissions: &[(&str, &str)]) -> usize {
        let mut list = Vec::new();
        for (kind, body) in emissions {
            let (kind_at, body_at) = (self.put(kind.as_bytes()), self.put(body.as_bytes()));
            list.extend([kind_at, kind.len(), body_at, body.len()]);
        }
        let at = self.words(&list);
        self.words(&[0, 3, at, emissions.len()])
    }
}
