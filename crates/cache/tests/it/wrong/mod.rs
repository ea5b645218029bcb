//! Wrong variants of the scripts: each a line of one replaced. The checker of the scripts must catch every one.

/// Which script, the line as it is, and as it is not.
pub(crate) const SCRIPTS: &[(&str, &str, &str)] = &[
    // What is never read again stays for ever.
    ("lease", "redis.call('PEXPIRE', KEYS[2], ARGV[5])", ""),
    ("invalidate", "redis.call('PEXPIRE', KEYS[2], ARGV[2])", ""),
    ("populate", ", 'PX', ARGV[4])", ")"),
    // A lease that is no lock.
    (
        "lease",
        "if control[2] and tonumber(control[3]) > now then",
        "if false then",
    ),
    // One that never ends.
    (
        "lease",
        "if control[2] and tonumber(control[3]) > now then",
        "if control[2] then",
    ),
    // "Somebody refreshed it" is said of the very entry that is to be refreshed.
    ("lease", "soft ~= tonumber(ARGV[3])", "true"),
    // What no release can read is taken for an entry.
    ("lease", "and whole then", "then"),
    ("lease", "if version >= 0 and version < 2^53 then", "if true then"),
    (
        "populate",
        "if cached_version >= 0 and cached_version < 2^53 then",
        "if true then",
    ),
    ("invalidate", "or cached >= 2^53 then", "then"),
    // Stale data is taken for somebody's refresh.
    ("lease", "if soft > now and", "if"),
    // An older release reads a newer one's entry.
    ("lease", "if schema > tonumber(ARGV[4]) then", "if false then"),
    // An absence that is older than what is cached.
    ("lease", "if floor < cached then", "if false then"),
    // Whoever lost the lease stores all the same.
    (
        "populate",
        "if control[2] ~= ARGV[1] or tonumber(control[3]) <= now then",
        "if false then",
    ),
    // So does whoever held it too long.
    (
        "populate",
        "if control[2] ~= ARGV[1] or tonumber(control[3]) <= now then",
        "if control[2] ~= ARGV[1] then",
    ),
    // A load from before a commit is stored after its invalidation.
    (
        "populate",
        "if control[1] and tonumber(control[1]) > version then",
        "if false then",
    ),
    ("populate", "if cached_version > version then", "if false then"),
    // Two releases replace each other's entries for ever.
    (
        "populate",
        "if cached_schema > tonumber(ARGV[2]) then",
        "if false then",
    ),
    // A lease that stores twice.
    ("populate", "redis.call('HDEL', KEYS[2], 'tok', 'tok_exp')", ""),
    // A late invalidation lowers the floor.
    ("invalidate", "if floor < version then", "if true then"),
    ("invalidate", "cached < version", "cached <= version"),
    ("invalidate", "cached < version", "false"),
    // Everybody's lease is released.
    ("release", "~= ARGV[1] then", "== false then"),
];
