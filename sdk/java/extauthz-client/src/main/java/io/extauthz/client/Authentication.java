package io.extauthz.client;

/** Whether a route needs a caller with a verified token. */
public enum Authentication {
    /** A request without a valid token is denied. */
    REQUIRED,
    /** A request without a token is judged as the anonymous caller. */
    OPTIONAL,
    /** Tokens are not looked at. */
    NONE;

    /**
     * Returns the word of the API.
     *
     * @return the word, such as {@code required}
     */
    public String word() {
        return Words.of(this);
    }
}
