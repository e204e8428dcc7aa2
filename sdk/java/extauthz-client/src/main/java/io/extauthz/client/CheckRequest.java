package io.extauthz.client;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;

/**
 * What a decision is asked about.
 *
 * @param resource the name of the resource
 * @param action the action
 * @param subject who does it; null is the caller itself, and only a service key can ask about others
 * @param subjectKind what {@code subject} names; null is the API's default
 * @param domain the domain; null is the API's default
 * @param attributes {@code resource} (route parameters) and, for a service key, {@code user} (claims, with
 *     {@code roles}), each a map; null for none
 * @param minRevision the decision waits a moment until the policies have this revision; null does not wait
 */
public record CheckRequest(
        String resource,
        String action,
        String subject,
        SubjectKind subjectKind,
        String domain,
        Map<String, Map<String, ?>> attributes,
        Long minRevision) {

    /** Copies the outermost map of the attributes. */
    public CheckRequest {
        Objects.requireNonNull(resource, "resource");
        Objects.requireNonNull(action, "action");
        attributes = attributes == null ? null : Documents.copy(attributes);
    }

    /**
     * Starts a question about the caller itself.
     *
     * @param resource the name of the resource
     * @param action the action
     * @return a builder
     */
    public static Builder builder(String resource, String action) {
        return new Builder(resource, action);
    }

    Map<String, Object> document() {
        var members = new LinkedHashMap<String, Object>();
        Documents.put(members, "subject", subject);
        Documents.put(members, "subject_kind", Words.of(subjectKind));
        members.put("resource", resource);
        members.put("action", action);
        Documents.put(members, "domain", domain);
        Documents.put(members, "attributes", attributes);
        Documents.put(members, "min_revision", minRevision);
        return members;
    }

    /** Collects the members of a question. Not for several threads at once. */
    public static final class Builder {

        private final String resource;
        private final String action;
        private String subject;
        private SubjectKind subjectKind;
        private String domain;
        private Map<String, Map<String, ?>> attributes;
        private Long minRevision;

        private Builder(String resource, String action) {
            this.resource = Objects.requireNonNull(resource, "resource");
            this.action = Objects.requireNonNull(action, "action");
        }

        /**
         * Names who does it.
         *
         * @param subject the subject; null is the caller itself
         * @return this builder
         */
        public Builder subject(String subject) {
            this.subject = subject;
            return this;
        }

        /**
         * Names who does it, and of which kind that is.
         *
         * @param subject the subject
         * @param kind of which kind it is; null is the API's default
         * @return this builder
         */
        public Builder subject(String subject, SubjectKind kind) {
            this.subject = subject;
            this.subjectKind = kind;
            return this;
        }

        /**
         * Sets the domain.
         *
         * @param domain the domain; null is the API's default
         * @return this builder
         */
        public Builder domain(String domain) {
            this.domain = domain;
            return this;
        }

        /**
         * Sets the attributes of one side of the question; another call with the same side replaces them.
         *
         * @param side {@code resource} or {@code user}
         * @param values its attributes
         * @return this builder
         */
        public Builder attributes(String side, Map<String, ?> values) {
            Objects.requireNonNull(side, "side");
            Objects.requireNonNull(values, "values");
            if (attributes == null) {
                attributes = new LinkedHashMap<>();
            }
            attributes.put(side, values);
            return this;
        }

        /**
         * Waits a moment until the policies are this new.
         *
         * @param revision the revision, such as {@link ExtauthzClient#policyRevision()} gives
         * @return this builder
         */
        public Builder minRevision(long revision) {
            this.minRevision = revision;
            return this;
        }

        /**
         * Makes the question.
         *
         * @return the question
         */
        public CheckRequest build() {
            return new CheckRequest(resource, action, subject, subjectKind, domain, attributes, minRevision);
        }
    }
}
