package io.extauthz.client;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.Collection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;

/** Makes TLS settings that trust more certificate authorities than the JVM does. */
final class Trust {

    private Trust() {}

    /**
     * Returns the settings to use: those given, or those with the authorities of a file; null is the JVM's default.
     *
     * @throws IllegalArgumentException both are given, or the file cannot be used
     */
    static SSLContext settings(SSLContext given, Path authorities) {
        if (given != null && authorities != null) {
            throw new IllegalArgumentException(
                    "CA certificates and an SSLContext are both set; keep the one that is meant");
        }
        return authorities == null ? given : with(authorities);
    }

    /** Returns settings that trust the certificates of a PEM file, in addition to those that the JVM trusts. */
    private static SSLContext with(Path file) {
        Collection<? extends Certificate> added;
        try (InputStream stream = Files.newInputStream(file)) {
            added = CertificateFactory.getInstance("X.509").generateCertificates(stream);
        } catch (IOException error) {
            throw new IllegalArgumentException("the CA file '" + file + "' cannot be read: " + error, error);
        } catch (CertificateException error) {
            throw new IllegalArgumentException(
                    "the CA file '" + file + "' is not certificates in PEM: " + error.getMessage(), error);
        }
        if (added.isEmpty()) {
            throw new IllegalArgumentException(
                    "the CA file '" + file + "' has no certificate; it must have at least one in PEM");
        }
        try {
            KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
            store.load(null, null);
            int count = 0;
            for (X509Certificate known : trusted(null)) {
                store.setCertificateEntry("known-" + count++, known);
            }
            for (Certificate certificate : added) {
                store.setCertificateEntry("added-" + count++, certificate);
            }
            SSLContext settings = SSLContext.getInstance("TLS");
            settings.init(null, managers(store), null);
            return settings;
        } catch (GeneralSecurityException | IOException error) {
            throw new IllegalArgumentException("the CA file '" + file + "' cannot be used: " + error, error);
        }
    }

    private static X509Certificate[] trusted(KeyStore store) throws GeneralSecurityException {
        for (TrustManager manager : managers(store)) {
            if (manager instanceof X509TrustManager x509) {
                return x509.getAcceptedIssuers();
            }
        }
        return new X509Certificate[0];
    }

    private static TrustManager[] managers(KeyStore store) throws GeneralSecurityException {
        TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        return factory.getTrustManagers();
    }
}
