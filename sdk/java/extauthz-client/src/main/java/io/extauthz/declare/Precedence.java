package io.extauthz.declare;

/** Which of two endpoints a framework takes for a request that both match. */
@FunctionalInterface
public interface Precedence {

    /** The framework's order is not known: either may be taken. */
    Precedence UNKNOWN = (first, second) -> 0;

    /**
     * Compares two endpoints.
     *
     * @param first an endpoint
     * @param second another endpoint
     * @return a negative number where the first is taken for each request that both match, a positive number
     *     where the second is; 0 where that is not known
     */
    int compare(Endpoint first, Endpoint second);
}
