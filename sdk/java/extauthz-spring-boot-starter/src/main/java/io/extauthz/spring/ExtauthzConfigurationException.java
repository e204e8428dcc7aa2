package io.extauthz.spring;

import io.extauthz.client.ExtauthzException;

/** The settings of the starter cannot be used; the message names the setting and what is right. */
public class ExtauthzConfigurationException extends ExtauthzException {

    private static final long serialVersionUID = 1L;

    private final String action;

    /**
     * Takes what was found, and the fix.
     *
     * @param message what was found, and where
     * @param action what is to be done
     */
    public ExtauthzConfigurationException(String message, String action) {
        super(message);
        this.action = action;
    }

    /**
     * Returns the fix.
     *
     * @return what is to be done
     */
    public String action() {
        return action;
    }
}
