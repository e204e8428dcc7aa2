package io.extauthz.client;

/**
 * An answer that the API never gives: something else is at this address, or another version of it.
 */
public class UnexpectedAnswerException extends ExtauthzException {

    private static final long serialVersionUID = 1L;

    /**
     * Takes what happened.
     *
     * @param message what was answered, and what is right
     */
    public UnexpectedAnswerException(String message) {
        super(message);
    }
}
