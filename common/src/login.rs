//! The login that a NATS URL holds, which the client itself leaves unread.

use async_nats::{ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;

/// The options with the login of the first server whose URL has one: a user with a password, or a token.
pub fn signed_in(options: ConnectOptions, servers: &[ServerAddr]) -> ConnectOptions {
    let login = servers.iter().find_map(|server| Some((server.username()?, server.password())));
    let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    match login {
        Some((user, Some(password))) => options.user_and_password(plain(user), plain(password)),
        Some((token, None)) => options.token(plain(token)),
        None => options,
    }
}
