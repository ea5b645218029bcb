//! What Redis keeps for one entry, and the scripts that touch it.

/// A row's version, from 0.
pub(crate) type Version = u8;

/// What a loader read: a row, or that there is none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Value {
    /// The row's version. An absent row has none: it carries the floor that its loader's lease returned.
    pub(crate) version: Version,
    /// The commit that it shows. No script sees this; the property is about it.
    pub(crate) shows: Version,
}

/// Whose lease it is. A token is random and of one flight: the next flight of the same process has another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Token {
    Here,
    Elsewhere,
    /// Of a flight that is over, at its deadline or with its process, while its populate is on its way.
    Late,
    /// Of a flight that is over, and left nothing behind.
    Nobody,
}

/// The key `c`. Floor and token share it, so that whatever loses the one loses the other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Control {
    pub(crate) floor: Version,
    pub(crate) token: Option<Token>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Redis {
    /// The key `d`.
    pub(crate) data: Option<Value>,
    pub(crate) control: Option<Control>,
}

impl Redis {
    pub(crate) const EMPTY: Redis = Redis {
        data: None,
        control: None,
    };

    pub(crate) fn control(&mut self) -> &mut Control {
        self.control.get_or_insert(Control {
            floor: 0,
            token: None,
        })
    }

    /// No step of Redis: the token is another's from now on.
    pub(crate) fn rename_token(&mut self, from: Token, to: Token) {
        if let Some(control) = &mut self.control
            && control.token == Some(from)
        {
            control.token = Some(to);
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Lease {
    /// Someone refreshed it meanwhile.
    Data(Value),
    Busy,
    /// `floor`: nothing below it would be accepted. It is the floor, or the version that is cached if that is higher.
    Granted {
        floor: Version,
    },
}

/// `fresh`: `d` is not past its soft expiry, and has another one than the reader saw.
pub(crate) fn lease(redis: &mut Redis, token: Token, fresh: bool) -> Lease {
    if let (Some(value), true) = (redis.data, fresh) {
        return Lease::Data(value);
    }
    let control = redis.control();
    if control.token.is_some() {
        return Lease::Busy;
    }
    control.token = Some(token);
    let cached = redis.data.map_or(0, |cached| cached.version);
    Lease::Granted {
        floor: redis.control().floor.max(cached),
    }
}

/// Whether it was accepted; the lease ends either way. What its lease returned as `_floor` is no argument of the script; a wrong one uses it.
pub(crate) fn populate(redis: &mut Redis, token: Token, value: Value, _floor: Version) -> bool {
    let older = redis.data.is_some_and(|cached| value.version < cached.version);
    let Some(control) = &mut redis.control else {
        return false;
    };
    if control.token != Some(token) {
        return false;
    }
    control.token = None;
    let accepted = value.version >= control.floor && !older;
    if accepted {
        redis.data = Some(value);
    }
    accepted
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    Enough,
    /// Redis refuses every command that may need more. A delete needs none.
    Out,
}

pub(crate) fn invalidate(redis: &mut Redis, version: Version, memory: Memory) {
    if redis.data.is_some_and(|cached| cached.version < version) {
        redis.data = None;
    }
    if memory == Memory::Out {
        // The floor's `pcall` failed. Without a token, nothing in flight can be populated either.
        *redis = Redis::EMPTY;
        return;
    }
    let control = redis.control();
    control.floor = control.floor.max(version);
}
