package io.extauthz.client;

/** What happens to the request's {@code Authorization} header on its way to the workload. */
public enum Authorization {
    /** The workload gets it. */
    KEEP,
    /** The workload does not get it. */
    REMOVE;

    /**
     * Returns the word of the API.
     *
     * @return the word, such as {@code keep}
     */
    public String word() {
        return Words.of(this);
    }
}
