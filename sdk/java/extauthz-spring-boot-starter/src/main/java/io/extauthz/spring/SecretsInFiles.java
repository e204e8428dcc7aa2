package io.extauthz.spring;

import io.extauthz.declare.SecretCheck;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.springframework.beans.factory.config.BeanFactoryPostProcessor;
import org.springframework.beans.factory.config.ConfigurableListableBeanFactory;
import org.springframework.boot.env.OriginTrackedMapPropertySource;
import org.springframework.boot.env.PropertySourceLoader;
import org.springframework.boot.origin.OriginLookup;
import org.springframework.boot.origin.TextResourceOrigin;
import org.springframework.core.env.ConfigurableEnvironment;
import org.springframework.core.env.EnumerablePropertySource;
import org.springframework.core.env.PropertySource;
import org.springframework.core.io.Resource;
import org.springframework.core.io.support.PathMatchingResourcePatternResolver;
import org.springframework.core.io.support.ResourcePropertySource;
import org.springframework.core.io.support.SpringFactoriesLoader;

/**
 * Refuses to start with a secret of extauthz in a configuration file: {@code application.properties} or
 * {@code .yaml} of whatever profile, active or not, and each file of the application's archive that is
 * imported. A secret in a file that is mounted for it ({@code configtree:}, a file of another name outside the
 * archive) is taken.
 */
final class SecretsInFiles implements BeanFactoryPostProcessor {

    private static final int LONGEST_CHAIN = 8;

    private final ConfigurableEnvironment environment;

    SecretsInFiles(ConfigurableEnvironment environment) {
        this.environment = environment;
    }

    @Override
    public void postProcessBeanFactory(ConfigurableListableBeanFactory beanFactory) {
        Set<String> found = new LinkedHashSet<>();
        for (PropertySource<?> source : environment.getPropertySources()) {
            if (source instanceof EnumerablePropertySource<?> properties) {
                for (String name : properties.getPropertyNames()) {
                    file(properties, name).ifPresent(file -> refusal(properties, name, file).ifPresent(found::add));
                }
            }
        }
        if (found.isEmpty()) {
            found.addAll(inOtherProfiles(beanFactory));
        }
        if (!found.isEmpty()) {
            throw new ExtauthzConfigurationException(
                    String.join(System.lineSeparator(), found),
                    "Take the secret out of the file and give it to the application in its environment.");
        }
    }

    /** Returns the file of a property, if it is one in which no secret may be. */
    private Optional<String> file(EnumerablePropertySource<?> source, String name) {
        if (source instanceof OriginTrackedMapPropertySource
                && OriginLookup.getOrigin(source, name) instanceof TextResourceOrigin origin
                && origin.getResource() != null) {
            Resource resource = origin.getResource();
            boolean refused = isPacked(resource.getDescription()) || isConfiguration(resource.getFilename());
            return refused ? Optional.of(origin.toString()) : Optional.empty();
        }
        if (source instanceof ResourcePropertySource && isPacked(source.getName())) {
            return Optional.of(source.getName());
        }
        return Optional.empty();
    }

    private Optional<String> refusal(EnumerablePropertySource<?> source, String name, String file) {
        String value = String.valueOf(source.getProperty(name));
        Optional<String> refused = SecretCheck.refusal(name, value, file);
        return refused.isPresent() || !SecretCheck.isSecret(name) ? refused : referred(name, value, LONGEST_CHAIN);
    }

    /** Returns the message about a secret that is a reference to a property of a file. */
    private Optional<String> referred(String secret, String value, int left) {
        Optional<String> name = left == 0 ? Optional.empty() : SecretCheck.reference(value);
        if (name.isEmpty()) {
            return Optional.empty();
        }
        for (PropertySource<?> source : environment.getPropertySources()) {
            // The first source is the environment as Spring Boot adapts it: it holds all others.
            if (source instanceof EnumerablePropertySource<?> properties && properties.containsProperty(name.get())) {
                String next = String.valueOf(properties.getProperty(name.get()));
                Optional<String> file = file(properties, name.get());
                if (file.isEmpty() || next.isBlank()) {
                    return Optional.empty();
                }
                return SecretCheck.reference(next).isPresent()
                        ? referred(secret, next, left - 1)
                        : Optional.of(SecretCheck.message(name.get(), file.get(), secret));
            }
        }
        return Optional.empty();
    }

    /** Looks into the files of profiles that are not active: they are in the archive all the same. */
    private List<String> inOtherProfiles(ConfigurableListableBeanFactory beanFactory) {
        ClassLoader loader = beanFactory.getBeanClassLoader();
        var resolver = new PathMatchingResourcePatternResolver(loader);
        var found = new ArrayList<String>();
        for (PropertySourceLoader reader : SpringFactoriesLoader.loadFactories(PropertySourceLoader.class, loader)) {
            for (String extension : reader.getFileExtensions()) {
                for (String name : names()) {
                    for (String folder : List.of("", "config/")) {
                        found.addAll(inFiles(resolver, reader, "classpath*:" + folder + name + "*." + extension));
                    }
                }
            }
        }
        return found;
    }

    private static List<String> inFiles(
            PathMatchingResourcePatternResolver resolver, PropertySourceLoader reader, String pattern) {
        var found = new ArrayList<String>();
        try {
            for (Resource resource : resolver.getResources(pattern)) {
                for (PropertySource<?> source : reader.load(resource.getDescription(), resource)) {
                    if (source instanceof EnumerablePropertySource<?> properties) {
                        for (String name : properties.getPropertyNames()) {
                            SecretCheck.refusal(name, String.valueOf(properties.getProperty(name)),
                                    resource.getDescription()).ifPresent(found::add);
                        }
                    }
                }
            }
        } catch (IOException | RuntimeException error) {
            // A file that Spring Boot does not use need not be readable; one that it uses was read above.
            return found;
        }
        return found;
    }

    private boolean isConfiguration(String filename) {
        return filename != null && Arrays.stream(names()).anyMatch(name -> filename.equals(name)
                || filename.startsWith(name + ".") || filename.startsWith(name + "-"));
    }

    private String[] names() {
        return environment.getProperty("spring.config.name", "application").split("\\s*,\\s*");
    }

    /** Tells whether a resource, by its description, is part of the application's archive. */
    private static boolean isPacked(String description) {
        return description.startsWith("class path resource") || description.contains("!/");
    }
}
