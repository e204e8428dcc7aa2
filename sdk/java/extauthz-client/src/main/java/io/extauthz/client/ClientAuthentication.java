package io.extauthz.client;

/** How a client shows the token endpoint who it is (OpenID Connect Core 1.0, 9). */
public enum ClientAuthentication {
    /** The secret in {@code Authorization}. */
    CLIENT_SECRET_BASIC,

    /** The secret in the form. */
    CLIENT_SECRET_POST,

    /** A JWT that the client's private key has signed (RFC 7523 2.2). */
    PRIVATE_KEY_JWT;

    /**
     * Returns the word of OpenID Connect.
     *
     * @return the word, such as {@code client_secret_basic}
     */
    public String word() {
        return Words.of(this);
    }
}
