//! Who is asking: the order's secret, or an operator's token. A missing one takes the same way as a wrong one.

use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

/// The header `secret`, as it came.
pub(super) struct OrderSecret(Option<String>);

impl OrderSecret {
    /// The secret, if there was one.
    pub(super) fn as_deref(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// The token of the header `Authorization: Bearer`, as it came.
pub(super) struct OperatorToken(Option<String>);

impl OperatorToken {
    /// The token, if there was one.
    pub(super) fn as_deref(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

const SCHEME: MetaSecurityScheme = MetaSecurityScheme {
    ty: "apiKey",
    description: None,
    name: None,
    key_in: None,
    scheme: None,
    bearer_format: None,
    flows: None,
    openid_connect_url: None,
};

impl<'a> ApiExtractor<'a> for OrderSecret {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let description = Some("The secret of the order, as its operator was shown it once.");
        let scheme = MetaSecurityScheme { name: Some("secret"), key_in: Some("header"), description, ..SCHEME };
        registry.create_security_scheme("OrderSecret", scheme);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec!["OrderSecret"]
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        Ok(Self(request.header("secret").map(str::to_owned)))
    }
}

impl<'a> ApiExtractor<'a> for OperatorToken {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let description = Some("An operator's token, from the api's settings.");
        let scheme = MetaSecurityScheme { ty: "http", scheme: Some("bearer"), description, ..SCHEME };
        registry.create_security_scheme("OperatorToken", scheme);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec!["OperatorToken"]
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        let header = request.header("authorization").and_then(|text| text.split_once(' '));
        let token = header.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        Ok(Self(token.map(str::to_owned)))
    }
}
