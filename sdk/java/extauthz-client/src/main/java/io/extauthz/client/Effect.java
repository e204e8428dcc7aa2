package io.extauthz.client;

/** What a rule or a policy leads to. */
public enum Effect {
    /** The request is allowed, unless something denies it. */
    ALLOW,
    /** The request is denied, whatever allows it. */
    DENY;

    /**
     * Returns the word of the API.
     *
     * @return the word, such as {@code allow}
     */
    public String word() {
        return Words.of(this);
    }
}
