//! Frames as a peer would write them, put together byte by byte: also those that no decent encoder
//! would write.

/// A frame without its length prefix.
pub type Frame = Vec<u8>;

/// Writes protobuf fields, with no regard to any schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<u8>);

impl Fields {
    /// No field yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// A field of wire type 0. Negative numbers take ten bytes, as in `int32` and `int64`.
    #[must_use]
    pub fn number(mut self, field: u32, value: i64) -> Self {
        self.varint(u64::from(field) << 3);
        self.varint(u64::from_le_bytes(value.to_le_bytes()));
        self
    }

    /// A field of wire type 2: a string, bytes or a message.
    #[must_use]
    pub fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A field of wire type 2 with fields inside.
    #[must_use]
    pub fn message(self, field: u32, value: &Self) -> Self {
        self.bytes(field, &value.0)
    }

    /// Bytes as they are.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// What was written.
    #[must_use]
    pub fn done(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                self.0.push(low & 0x7f);
                return;
            }
            self.0.push(low | 0x80);
        }
    }
}

/// A frame for stream `id` that holds what `member` holds.
#[must_use]
pub fn on(id: i64, member: &Fields) -> Frame {
    let id = if id == 0 {
        Fields::new()
    } else {
        Fields::new().number(1, id)
    };
    id.raw(&member.0).done()
}

/// `Metadata`, from keys and their values.
#[must_use]
pub fn metadata(entries: &[(&[u8], &[&[u8]])]) -> Fields {
    let mut all = Fields::new();
    for (key, values) in entries {
        let values = values
            .iter()
            .fold(Fields::new(), |values, value| values.bytes(1, value));
        let entry = Fields::new().bytes(1, key).message(2, &values);
        all = all.message(1, &entry);
    }
    all
}

/// `Metadata` of single values that are strings.
#[must_use]
pub fn strings(entries: &[(&str, &str)]) -> Fields {
    entries.iter().fold(Fields::new(), |all, (key, value)| {
        all.raw(&metadata(&[(key.as_bytes(), &[value.as_bytes()])]).0)
    })
}

/// A `new_stream`, to be completed.
#[derive(Clone, Debug)]
pub struct NewStream {
    id: i64,
    method: Vec<u8>,
    revision: i32,
    window: u32,
    headers: Option<Fields>,
    extra: Fields,
}

/// `new_stream` of revision one with a window of 65,536 and no metadata.
#[must_use]
pub fn new(id: i64, method: &str) -> NewStream {
    NewStream {
        id,
        method: method.into(),
        revision: 1,
        window: 65_536,
        headers: None,
        extra: Fields::new(),
    }
}

impl NewStream {
    /// With this `protocol_revision`.
    #[must_use]
    pub const fn revision(mut self, revision: i32) -> Self {
        self.revision = revision;
        self
    }

    /// With this `initial_window_size`.
    #[must_use]
    pub const fn window(mut self, window: u32) -> Self {
        self.window = window;
        self
    }

    /// With this method name, of any bytes.
    #[must_use]
    pub fn method(mut self, method: &[u8]) -> Self {
        self.method = method.to_vec();
        self
    }

    /// With these `request_headers`.
    #[must_use]
    pub fn headers(mut self, headers: Fields) -> Self {
        self.headers = Some(headers);
        self
    }

    /// With one value of `grpc-timeout`.
    #[must_use]
    pub fn timeout(self, value: &str) -> Self {
        self.headers(strings(&[("grpc-timeout", value)]))
    }

    /// With further fields at its end.
    #[must_use]
    pub fn extra(mut self, extra: Fields) -> Self {
        self.extra = extra;
        self
    }

    /// The content of the oneof's member.
    #[must_use]
    pub fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        if !self.method.is_empty() {
            fields = fields.bytes(1, &self.method);
        }
        if let Some(headers) = &self.headers {
            fields = fields.message(2, headers);
        }
        if self.window > 0 {
            fields = fields.number(3, i64::from(self.window));
        }
        if self.revision != 0 {
            fields = fields.number(4, i64::from(self.revision));
        }
        fields.raw(&self.extra.0)
    }
}

impl From<NewStream> for Frame {
    fn from(new: NewStream) -> Self {
        on(new.id, &Fields::new().message(2, &new.fields()))
    }
}

/// The bytes from `offset` on of the content that all test messages have.
#[must_use]
pub fn content(offset: usize, len: usize) -> Vec<u8> {
    (0..251_u8).cycle().skip(offset % 251).take(len).collect()
}

/// `request_message` or `response_message`: an envelope of `size` with `len` bytes of data.
#[must_use]
pub fn msg(id: i64, size: u32, len: usize) -> Frame {
    let mut fields = Fields::new();
    if size > 0 {
        fields = fields.number(1, i64::from(size));
    }
    if len > 0 {
        fields = fields.bytes(2, &content(0, len));
    }
    on(id, &Fields::new().message(3, &fields))
}

/// `more_request_data` or `more_response_data` of `len` bytes.
#[must_use]
pub fn more(id: i64, len: usize) -> Frame {
    more_from(id, 0, len)
}

/// The same, with the content from `offset` on.
#[must_use]
pub fn more_from(id: i64, offset: usize, len: usize) -> Frame {
    on(id, &Fields::new().bytes(4, &content(offset, len)))
}

/// `half_close`.
#[must_use]
pub fn half(id: i64) -> Frame {
    on(id, &Fields::new().bytes(5, &[]))
}

/// `cancel`.
#[must_use]
pub fn cancel(id: i64) -> Frame {
    on(id, &Fields::new().bytes(6, &[]))
}

/// `window_update`.
#[must_use]
pub fn wu(id: i64, bytes: u32) -> Frame {
    on(id, &Fields::new().number(7, i64::from(bytes)))
}

/// A frame whose oneof is not set.
#[must_use]
pub fn none(id: i64) -> Frame {
    on(id, &Fields::new())
}

/// `settings`, with the revisions packed.
#[must_use]
pub fn set(id: i64, window: u32, revisions: &[i32]) -> Frame {
    let packed = revisions.iter().fold(Fields::new(), |mut all, revision| {
        all.varint(u64::from_le_bytes(i64::from(*revision).to_le_bytes()));
        all
    });
    let mut fields = Fields::new();
    if !revisions.is_empty() {
        fields = fields.message(1, &packed);
    }
    if window > 0 {
        fields = fields.number(2, i64::from(window));
    }
    on(id, &Fields::new().message(6, &fields))
}

/// `settings` of revisions zero and one, with an offer of extensions.
#[must_use]
pub fn set_with(window: u32, extensions: &[u8]) -> Frame {
    let fields = Fields::new().bytes(1, &[0, 1]).number(2, i64::from(window));
    on(
        -1,
        &Fields::new().message(6, &fields.bytes(100, extensions)),
    )
}

/// `extensions`, packed.
#[must_use]
pub fn extensions(id: i64, numbers: &[u8]) -> Frame {
    let fields = Fields::new().bytes(1, numbers);
    on(id, &Fields::new().message(100, &fields))
}

/// `drain`.
#[must_use]
pub fn drain(last_stream_id: i64) -> Frame {
    let fields = Fields::new().number(1, last_stream_id);
    on(-1, &Fields::new().message(100, &fields))
}

/// `ping`.
#[must_use]
pub fn ping(id: i64, opaque: u64) -> Frame {
    opaque_on(id, 101, opaque)
}

/// `pong`.
#[must_use]
pub fn pong(id: i64, opaque: u64) -> Frame {
    opaque_on(id, 102, opaque)
}

fn opaque_on(id: i64, field: u32, opaque: u64) -> Frame {
    // The tag of field 1 with wire type 1.
    let fields = Fields::new().raw(&[9]).raw(&opaque.to_le_bytes());
    on(id, &Fields::new().message(field, &fields))
}

/// `response_headers`.
#[must_use]
pub fn hdr(id: i64, entries: &[(&str, &str)]) -> Frame {
    on(id, &Fields::new().message(2, &strings(entries)))
}

/// `google.rpc.Status`.
#[must_use]
pub fn status(code: i32, message: &[u8]) -> Fields {
    let mut fields = Fields::new();
    if code != 0 {
        fields = fields.number(1, i64::from(code));
    }
    if !message.is_empty() {
        fields = fields.bytes(2, message);
    }
    fields
}

/// `close_stream` with a status of this code and no text.
#[must_use]
pub fn close(id: i64, code: i32) -> Frame {
    close_with(id, &Fields::new().message(2, &status(code, b"")))
}

/// `close_stream` with this content.
#[must_use]
pub fn close_with(id: i64, content: &Fields) -> Frame {
    on(id, &Fields::new().message(5, content))
}
