//! Commands about sorted sets, which `channels_redis` keeps its queues and groups in.

use std::ops::Bound;

use bytes::Bytes;

use crate::embedded::command::arguments::{index_range, integer, is};
use crate::embedded::command::context::Context;
use crate::embedded::command::lists::wait_for;
use crate::embedded::command_error::CommandError;
use crate::embedded::number::{parse_bound, parse_double};
use crate::embedded::resp::Reply;
use crate::embedded::sorted_set::SortedSet;
use crate::embedded::store::MissingKey;
use crate::embedded::waiters::PopFrom;

/// The options of `ZADD`.
#[derive(Debug, Clone, Copy, Default)]
struct AddOptions {
    new_only: bool,
    old_only: bool,
    greater: bool,
    less: bool,
    count_changed: bool,
    increase: bool,
}

impl AddOptions {
    /// Reads the options at the front; returns them with the remaining arguments.
    fn take<'a>(arguments: &mut &'a [Bytes]) -> Result<Self, CommandError> {
        let mut options = Self::default();
        while let Some((option, rest)) = arguments.split_first() {
            let flag = match &option.to_ascii_uppercase()[..] {
                b"NX" => &mut options.new_only,
                b"XX" => &mut options.old_only,
                b"GT" => &mut options.greater,
                b"LT" => &mut options.less,
                b"CH" => &mut options.count_changed,
                b"INCR" => &mut options.increase,
                _ => break,
            };
            *flag = true;
            let rest: &'a [Bytes] = rest;
            *arguments = rest;
        }
        Ok(options)
    }

    fn check(self, pairs: usize) -> Result<(), CommandError> {
        if self.new_only && self.old_only {
            return Err(CommandError::Other(
                "ERR XX and NX options at the same time are not compatible",
            ));
        }
        if [self.new_only, self.greater, self.less]
            .iter()
            .filter(|set| **set)
            .count()
            > 1
        {
            return Err(CommandError::Other(
                "ERR GT, LT, and/or NX options at the same time are not compatible",
            ));
        }
        if self.increase && pairs > 1 {
            return Err(CommandError::Other(
                "ERR INCR option supports a single increment-element pair",
            ));
        }
        Ok(())
    }

    /// The new score of a member, or `None` if the options leave it as it is.
    fn score(self, old: Option<f64>, given: f64) -> Result<Option<f64>, CommandError> {
        let Some(old) = old else {
            return Ok((!self.old_only).then_some(given));
        };
        if self.new_only {
            return Ok(None);
        }
        let new = if self.increase { old + given } else { given };
        if new.is_nan() {
            return Err(CommandError::NotANumber);
        }
        let goes = (!self.greater || new > old) && (!self.less || new < old);
        Ok(goes.then_some(new))
    }
}

/// `ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]`
pub(super) fn zadd(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    let [key, arguments @ ..] = arguments else {
        return Err(CommandError::Syntax);
    };
    let mut rest = arguments;
    let options = AddOptions::take(&mut rest)?;
    let (pairs, []) = rest.as_chunks::<2>() else {
        return Err(CommandError::Syntax);
    };
    if pairs.is_empty() {
        return Err(CommandError::Syntax);
    }
    options.check(pairs.len())?;
    let scores = pairs
        .iter()
        .map(|[score, _]| parse_double(score).ok_or(CommandError::NotDouble));
    let scores = scores.collect::<Result<Vec<f64>, _>>()?;
    add(
        context,
        key,
        options,
        pairs.iter().map(|[_, member]| &member[..]).zip(scores),
    )
}

/// `ZINCRBY key increment member`
pub(super) fn zincrby(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    let [key, by, member] = arguments else {
        return Err(CommandError::Syntax);
    };
    let by = parse_double(by).ok_or(CommandError::NotDouble)?;
    add(
        context,
        key,
        AddOptions {
            increase: true,
            ..AddOptions::default()
        },
        [(&member[..], by)],
    )
}

fn add<'a>(
    context: &mut Context<'_>,
    key: &[u8],
    options: AddOptions,
    pairs: impl IntoIterator<Item = (&'a [u8], f64)>,
) -> Result<Reply, CommandError> {
    let absent = if options.old_only {
        MissingKey::Ignore
    } else {
        MissingKey::Create
    };
    let done = context
        .keyspace()
        .edit(key, absent, |set: &mut SortedSet| {
            let (mut added, mut changed, mut last) = (0, 0, None);
            for (member, given) in pairs {
                let old = set.score(member);
                last = options.score(old, given)?;
                if let Some(new) = last {
                    set.insert(member, new);
                    added += usize::from(old.is_none());
                    changed += usize::from(old.is_some_and(|old| old != new));
                }
            }
            Ok((added, changed, last))
        })?;
    let (added, changed, last) = done.transpose()?.unwrap_or((0, 0, None));
    if options.increase {
        return Ok(last.map_or(Reply::Null, Reply::Double));
    }
    Ok(Reply::count(if options.count_changed {
        added + changed
    } else {
        added
    }))
}

/// `ZCARD key`
pub(super) fn zcard(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    let [key] = arguments else {
        return Err(CommandError::Syntax);
    };
    Ok(Reply::count(
        context
            .keyspace()
            .collection::<SortedSet>(key)?
            .map_or(0, SortedSet::len),
    ))
}

/// `ZSCORE key member`
pub(super) fn zscore(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    let [key, member] = arguments else {
        return Err(CommandError::Syntax);
    };
    let mut keyspace = context.keyspace();
    let score = keyspace
        .collection::<SortedSet>(key)?
        .and_then(|set| set.score(member));
    Ok(score.map_or(Reply::Null, Reply::Double))
}

/// `ZCOUNT key min max`
pub(super) fn zcount(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    let [key, min, max] = arguments else {
        return Err(CommandError::Syntax);
    };
    let (min, max) = bounds(min, max)?;
    Ok(Reply::count(
        context
            .keyspace()
            .collection::<SortedSet>(key)?
            .map_or(0, |set| set.count(min, max)),
    ))
}

fn bounds(min: &[u8], max: &[u8]) -> Result<(Bound<f64>, Bound<f64>), CommandError> {
    parse_bound(min)
        .zip(parse_bound(max))
        .ok_or(CommandError::NotBound)
}

/// `ZREM key member...`
pub(super) fn zrem(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    let [key, members @ ..] = arguments else {
        return Err(CommandError::Syntax);
    };
    let removed = context
        .keyspace()
        .edit(key, MissingKey::Ignore, |set: &mut SortedSet| {
            members
                .iter()
                .filter(|member| set.remove(member).is_some())
                .count()
        })?;
    Ok(Reply::count(removed.unwrap_or(0)))
}

/// `ZREMRANGEBYSCORE key min max`
pub(super) fn zremrangebyscore(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    let [key, min, max] = arguments else {
        return Err(CommandError::Syntax);
    };
    let (min, max) = bounds(min, max)?;
    let removed = context
        .keyspace()
        .edit(key, MissingKey::Ignore, |set: &mut SortedSet| {
            set.remove_range(min, max)
        })?;
    Ok(Reply::count(removed.unwrap_or(0)))
}

/// `ZPOPMIN key [count]`
pub(super) fn zpopmin(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    let (key, count) = match arguments {
        [key] => (key, None),
        [key, count] => {
            let count = integer(count)
                .ok()
                .and_then(|count| usize::try_from(count).ok());
            (key, Some(count.ok_or(CommandError::NotPositive)?))
        }
        _ => return Err(CommandError::Syntax),
    };
    let popped = context
        .keyspace()
        .edit(key, MissingKey::Ignore, |set: &mut SortedSet| {
            let all = std::iter::from_fn(|| set.pop_first())
                .map(|(member, standing)| (member, standing.score));
            all.take(count.unwrap_or(1)).collect::<Vec<_>>()
        })?;
    let popped = popped.unwrap_or_default();
    // Without a count the member is not in a pair of its own, not even in RESP3.
    Ok(match (count, popped.into_iter()) {
        (None, popped) => Reply::Array(
            popped
                .flat_map(|(member, score)| [Reply::Bulk(member), Reply::Double(score)])
                .collect(),
        ),
        (Some(_), popped) => Reply::Scored(popped.collect()),
    })
}

/// `BZPOPMIN key... timeout`
pub(super) fn bzpopmin(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    wait_for(context, arguments, PopFrom::LowestMember)
}

/// The part of a range that is answered, and its form.
#[derive(Debug, Clone, Copy, Default)]
struct RangeOptions {
    by_score: bool,
    reverse: bool,
    with_scores: bool,
    /// The offset and the count; a negative count means all.
    limit: Option<(i64, i64)>,
}

impl RangeOptions {
    fn read(mut options: &[Bytes], mut known: Self, is_zrange: bool) -> Result<Self, CommandError> {
        while let Some((option, rest)) = options.split_first() {
            options = rest;
            match rest {
                _ if is(option, "WITHSCORES") => known.with_scores = true,
                _ if is_zrange && is(option, "REV") => known.reverse = true,
                _ if is_zrange && is(option, "BYSCORE") => known.by_score = true,
                _ if is_zrange && is(option, "BYLEX") => {
                    return Err(CommandError::Other(
                        "ERR the embedded channel layer has no BYLEX",
                    ));
                }
                [offset, count, rest @ ..] if is(option, "LIMIT") => {
                    known.limit = Some((integer(offset)?, integer(count)?));
                    options = rest;
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        if known.limit.is_some_and(|(_, count)| count != -1) && !known.by_score {
            return Err(CommandError::Other(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        Ok(known)
    }

    /// The answer for the members of a range.
    fn reply<'a>(self, found: impl DoubleEndedIterator<Item = (&'a Bytes, f64)>) -> Reply {
        let (offset, count) = self.limit.unwrap_or((0, -1));
        // As in Redis, a negative offset finds nothing.
        let count = if offset < 0 {
            0
        } else {
            usize::try_from(count).unwrap_or(usize::MAX)
        };
        let offset = usize::try_from(offset).unwrap_or(0);
        if self.reverse {
            self.show(found.rev().skip(offset).take(count))
        } else {
            self.show(found.skip(offset).take(count))
        }
    }

    fn show<'a>(self, found: impl Iterator<Item = (&'a Bytes, f64)>) -> Reply {
        if self.with_scores {
            Reply::Scored(
                found
                    .map(|(member, score)| (member.clone(), score))
                    .collect(),
            )
        } else {
            Reply::Array(
                found
                    .map(|(member, _)| Reply::Bulk(member.clone()))
                    .collect(),
            )
        }
    }
}

/// `ZRANGE key start stop [BYSCORE] [REV] [LIMIT offset count] [WITHSCORES]`
pub(super) fn zrange(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    let [key, start, stop, options @ ..] = arguments else {
        return Err(CommandError::Syntax);
    };
    let options = RangeOptions::read(options, RangeOptions::default(), true)?;
    if options.by_score {
        // In a reversed range the higher end comes first.
        let (min, max) = if options.reverse {
            (stop, start)
        } else {
            (start, stop)
        };
        return range_by_score(context, key, bounds(min, max)?, options);
    }
    let (start, stop) = (integer(start)?, integer(stop)?);
    let mut keyspace = context.keyspace();
    let Some(set) = keyspace.collection::<SortedSet>(key)? else {
        return Ok(Reply::Array(Vec::new()));
    };
    let Some(range) = index_range(start, stop, set.len()) else {
        return Ok(Reply::Array(Vec::new()));
    };
    let (skipped, length) = (*range.start(), range.count());
    Ok(if options.reverse {
        options.show(set.iter().rev().skip(skipped).take(length))
    } else {
        options.show(set.iter().skip(skipped).take(length))
    })
}

/// `ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]`
pub(super) fn zrangebyscore(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    let [key, min, max, options @ ..] = arguments else {
        return Err(CommandError::Syntax);
    };
    let options = RangeOptions::read(
        options,
        RangeOptions {
            by_score: true,
            ..RangeOptions::default()
        },
        false,
    )?;
    range_by_score(context, key, bounds(min, max)?, options)
}

fn range_by_score(
    context: &mut Context<'_>,
    key: &[u8],
    (min, max): (Bound<f64>, Bound<f64>),
    options: RangeOptions,
) -> Result<Reply, CommandError> {
    let mut keyspace = context.keyspace();
    let set = keyspace.collection::<SortedSet>(key)?;
    Ok(set.map_or(Reply::Array(Vec::new()), |set| {
        options.reply(set.range(min, max))
    }))
}
