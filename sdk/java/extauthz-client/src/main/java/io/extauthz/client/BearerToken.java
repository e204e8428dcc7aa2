package io.extauthz.client;

import java.util.Objects;
import java.util.regex.Pattern;

/** The token of another caller, for one call in its name. */
final class BearerToken implements Credentials {

    private static final Pattern B64_TOKEN = Pattern.compile("[A-Za-z0-9._~+/-]+=*"); // RFC 6750 2.1

    private final String token;

    BearerToken(String token) {
        Objects.requireNonNull(token, "token");
        if (!B64_TOKEN.matcher(token).matches()) {
            throw new IllegalArgumentException("the caller's token is not a token of RFC 6750");
        }
        this.token = token;
    }

    /** Returns the value of {@code Authorization}. */
    String authorization() {
        return "Bearer " + token;
    }

    /** Returns a text without the token. */
    @Override
    public String toString() {
        return "BearerToken[...]";
    }
}
