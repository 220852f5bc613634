//! An image's name as a customer writes it.

use common::image::Image;

/// A name that is taken prints as it was written, and each of its parts is a segment or more of a URL and nothing else.
///
/// # Panics
/// Where that is not so.
pub fn holds(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(image) = text.parse::<Image>() else { return };
    assert_eq!(image.to_string(), text);
    assert_eq!(String::from(image.clone()).parse(), Ok(image.clone()));
    let plain = |part: &str, others: &[u8]| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
    };
    assert!(plain(image.registry(), b".-:[]_"), "registry {}", image.registry());
    assert!(plain(image.repository(), b"._-/"), "repository {}", image.repository());
    assert!(image.repository().split('/').all(|segment| plain(segment, b"._-") && segment != "." && segment != ".."));
    assert!(plain(image.tag_or_digest(), b"._-:+="), "tag {}", image.tag_or_digest());
}
