package io.extauthz.client;

/** The form of an attribute policy's condition. */
public enum Notation {
    /** A condition tree. */
    JSON,
    /** A matcher expression, as text. */
    CASBIN;

    /**
     * Returns the word of the API.
     *
     * @return the word, such as {@code json}
     */
    public String word() {
        return Words.of(this);
    }
}
